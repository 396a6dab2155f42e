"""What studies are built from: the contract, files of datasets, shared bases; no kind of study is here."""
