"""What a study is: files, subjects, splits, stimulus table, expected counts, licence, citation."""
