"use strict";
// What the page does beyond being read: tables are sorted and filtered, queries are explored. Every view has a link:
// its state stands behind the # of the address. All text is set as text, never as HTML.
(function () {
  const index = JSON.parse(document.getElementById("index").textContent);
  const ENOUGH = 8; // rows from which on a table can be filtered
  const LISTED = 100; // queries that are listed at once

  // ---------------------------------------------------------------------------------------------- small helpers

  function make(name, given, ...children) {
    const one = document.createElement(name);
    for (const [key, value] of Object.entries(given || {})) {
      if (value === null || value === undefined || value === false) continue;
      if (key.startsWith("on")) one.addEventListener(key.slice(2), value);
      else if (key === "text") one.textContent = value;
      else one.setAttribute(key, value === true ? "" : value);
    }
    one.append(...children.filter((child) => child !== null && child !== undefined));
    return one;
  }

  function number(text) {
    const found = String(text).replace(/−/g, "-").replace(/,(?=\d{3})/g, "").match(/^\s*[+-]?\d+(\.\d+)?/);
    return found ? parseFloat(found[0]) : NaN;
  }

  const put = (place, ...children) => place.replaceChildren(...children.filter((child) => child !== null && child !== undefined));
  const digits = (value, count) => (value === null || value === undefined ? "–" : value.toFixed(count).replace("-", "−"));
  const mean = (values) => values.reduce((sum, value) => sum + value, 0) / values.length;

  // --------------------------------------------------------------------------------------------- state and links

  // An address with "=" behind its # is a state, any other the name of a place on the page.
  let state = new URLSearchParams();
  let linked = false; // whether the state is that of an address, and not yet shown

  function readState() {
    const text = location.hash.slice(1);
    if (text.includes("=")) { state = new URLSearchParams(text); linked = true; }
    return text.includes("=");
  }

  function keep(changes) {
    for (const [key, value] of Object.entries(changes)) {
      if (value === null || value === "") state.delete(key);
      else state.set(key, value);
    }
    history.replaceState(null, "", state.toString() ? "#" + state : location.pathname + location.search);
  }

  // ------------------------------------------------------------------------------------------------------- tables

  const restored = [];

  function equip(table) {
    const body = table.tBodies[0];
    const original = [...body.rows];
    const heads = [...table.tHead.rows[0].cells];

    function sort(column, down, silent) {
      const rows = original.slice();
      const value = (row) => {
        const cell = row.cells[column];
        const given = cell.dataset.value === undefined ? cell.textContent : cell.dataset.value;
        return [number(given), given.trim()];
      };
      const keys = new Map(rows.map((row) => [row, value(row)]));
      const numbers = rows.filter((row) => !Number.isNaN(keys.get(row)[0])).length * 2 > rows.length;
      rows.sort((one, other) => {
        const [a, b] = [keys.get(one), keys.get(other)];
        if (!numbers) return (down ? -1 : 1) * a[1].localeCompare(b[1]);
        if (Number.isNaN(a[0]) || Number.isNaN(b[0])) return Number.isNaN(a[0]) - Number.isNaN(b[0]);
        return down ? b[0] - a[0] : a[0] - b[0];
      });
      body.append(...rows);
      heads.forEach((head, place) => {
        if (place === column) head.setAttribute("aria-sort", down ? "descending" : "ascending");
        else head.removeAttribute("aria-sort");
      });
      if (!silent) keep({ ["sort." + table.id]: column + (down ? "d" : "a") });
    }

    heads.forEach((head, column) => {
      if (head.dataset.sort === "no") return;
      const button = make("button", { type: "button", title: "Sort by this column" });
      button.append(...head.childNodes);
      head.append(button);
      button.addEventListener("click", () => {
        const sorted = head.getAttribute("aria-sort");
        sort(column, sorted ? sorted === "ascending" : head.classList.contains("num"));
      });
    });

    let field = null;
    function filter(text) {
      const wanted = text.toLowerCase();
      original.forEach((row) => { row.hidden = !row.textContent.toLowerCase().includes(wanted); });
    }
    if (original.length >= ENOUGH) {
      field = make("input", { type: "search", "aria-label": "Filter the rows of: " + table.caption.textContent.trim(), placeholder: "Filter rows" });
      field.addEventListener("input", () => { filter(field.value); keep({ ["filter." + table.id]: field.value }); });
      table.before(make("p", { class: "filter" }, field));
    }

    restored.push(() => {
      const sorted = /^(\d+)([ad])$/.exec(state.get("sort." + table.id) || "");
      if (sorted && heads[+sorted[1]] && heads[+sorted[1]].dataset.sort !== "no") sort(+sorted[1], sorted[2] === "d", true);
      const text = state.get("filter." + table.id) || "";
      if (field) { field.value = text; filter(text); }
    });
  }

  // -------------------------------------------------------------------------------------------------------- files

  // A page from disk may not read files, but it may load scripts: each file beside the page calls this function.
  const loaded = new Map();
  const waiting = new Map();
  window.brain2clipLoaded = (name, value) => { loaded.set(name, value); };

  function load(name) {
    if (!waiting.has(name)) {
      waiting.set(name, new Promise((done, failed) => {
        const tag = make("script", { src: name.split("/").map(encodeURIComponent).join("/") + ".js" });
        tag.onload = () => (loaded.has(name) ? done(loaded.get(name)) : failed(new Error(name + ".js holds something else")));
        tag.onerror = () => { waiting.delete(name); failed(new Error(name + ".js is not beside this page: the folders queries, pictures, generated and oracle must lie beside page.html")); };
        document.head.append(tag);
      }));
    }
    return waiting.get(name);
  }

  // ----------------------------------------------------------------------------------------------------- explorer

  const KEYS = ["study", "signal", "protocol", "task", "repetitions", "method", "subject", "seed"];
  const WORDS = { study: "Study", signal: "Band or region", protocol: "Protocol", task: "Task", repetitions: "Repetitions averaged", method: "Method", subject: "Subject", seed: "Seed" };
  const VIEWS = { queries: "Queries by rank", hardest: "Hardest", confused: "Most confused" };
  const blocks = Object.keys(index.blocks).map((name) => name.split("/"));
  const root = document.getElementById("explore");
  const fields = {};
  let turn = 0;
  let missing = []; // what a link names that is not here
  let count = LISTED;
  let panes, status, notice, tabs, link, search;

  const unique = (values) => [...new Set(values)];
  const get = (key) => state.get(key) || "";
  const label = (method) => index.labels[method] || method;

  function choices(key) {
    const [study, signal] = [get("study"), get("signal")];
    if (key === "study") return unique(blocks.map((one) => one[0]));
    if (key === "signal") return unique(blocks.filter((one) => one[0] === study).map((one) => one[1]));
    if (key === "protocol") return unique(blocks.filter((one) => one[0] === study && one[1] === signal).map((one) => one[2]));
    if (key === "task") return Object.keys(index.tasks);
    if (key === "repetitions") return index.repetitions.includes("all") ? ["all", ...index.repetitions.filter((one) => one !== "all")] : index.repetitions;
    const block = index.blocks[[study, signal, get("protocol")].join("/")];
    if (!block) return [];
    if (key === "method") return block.methods;
    return ["", ...(key === "subject" ? block.subjects : block.seeds).map(String)];
  }

  const withCode = (words, value) => (words && words !== value ? `${words} (${value})` : value);

  function worded(key, value) {
    if (value === "") return "all";
    if (key === "method") return label(value);
    if (key === "task") return index.tasks[value];
    if (key === "study") return withCode(index.words.studies[value], value);
    if (key === "signal") return withCode(index.words.signals[get("study") + "/" + value], value);
    if (key === "protocol") return withCode(index.words.protocols[value], value);
    if (key === "repetitions") return value === "all" ? "all" : value === "1" ? "1 (single trials)" : value;
    return value;
  }

  // Every choice that the address does not name, or that there is not, is the first one; of a link the latter is said.
  function settle() {
    const absent = [];
    for (const key of KEYS) {
      const offered = choices(key);
      if (!offered.includes(get(key)) && !(offered[0] === "" && !state.has(key))) {
        if (get(key)) absent.push(`${WORDS[key]} ${get(key)}`);
        if (offered[0]) state.set(key, offered[0]); else state.delete(key);
      }
    }
    if (!VIEWS[get("view")]) state.set("view", "queries");
    missing = [];
    notice.textContent = "";
    notice.hidden = true;
    if (linked) absent.forEach(tell);
    linked = false;
  }

  function tell(absent) {
    missing.push(absent);
    notice.textContent = `The link names what is not here: ${missing.join(", ")}. Shown instead is what is chosen above.`;
    notice.hidden = false;
  }

  function fill() {
    for (const key of KEYS) {
      const offered = choices(key);
      fields[key].replaceChildren(...offered.map((value) => make("option", { value, text: worded(key, value) })));
      fields[key].value = get(key);
    }
    if (document.activeElement !== search) search.value = get("find");
    for (const [view, button] of Object.entries(tabs)) button.setAttribute("aria-pressed", String(get("view") === view));
  }

  // Brings the query into view if its beginning is not, and the keyboard to it.
  function reveal() {
    const place = document.getElementById("detail") || document.getElementById("explorer-title");
    const top = place.getBoundingClientRect().top;
    if (top < 0 || top > innerHeight / 2) place.scrollIntoView();
    place.focus({ preventScroll: true });
  }

  const fileOf = (method) => ["queries", get("study"), get("signal"), get("protocol"), method, get("task")].join("/");

  function queriesOf(data, method) {
    const found = [];
    for (const run of data.runs) {
      if (run.repetitions !== get("repetitions")) continue;
      for (const [target, query, rank, n, similarity, margin, best, similarities] of run.queries) {
        found.push({
          method, subject: run.subject, seed: run.seed, of: run.of, target: data.ids[target], query, rank, n, similarity, margin,
          best: best.map((place) => data.ids[place]), similarities,
        });
      }
    }
    return found;
  }

  const chosen = (one) => (!get("subject") || one.subject === get("subject")) && (!get("seed") || String(one.seed) === get("seed"));
  const nameOf = (one) => [one.method, one.subject, one.seed, one.query].join("~");

  function named(stimuli, id) {
    return stimuli.concepts[id] || id;
  }

  function picture(stimuli, id, size) {
    const uri = stimuli.pictures[id];
    return uri ? make("img", { src: uri, alt: named(stimuli, id), width: size, height: size }) : null;
  }

  function told(stimuli, id) {
    const [concept, caption] = [stimuli.concepts[id], stimuli.captions[id]];
    return [concept && concept !== id ? make("span", { class: "soft", text: " " + id }) : null,
      caption && get("task").startsWith("caption") ? make("div", { class: "soft", text: caption }) : null];
  }

  const caption = (text) => make("caption", null, make("span", { text }));

  function head(...names) {
    return make("thead", null, make("tr", null, ...names.map((name) => make("th", { scope: "col", class: /^(Rank|Mean|Margin|Found first|Similarity|Share|Queries)/.test(name) ? "num" : null, text: name }))));
  }

  async function show() {
    const mine = ++turn;
    settle();
    fill();
    keep({});
    link.href = "#" + state;
    status.textContent = "Loading …";
    try {
      const [data, stimuli] = await Promise.all([load(fileOf(get("method"))), load("pictures/" + get("study"))]);
      if (mine !== turn) return;
      const found = queriesOf(data, get("method")).filter(chosen);
      const wanted = get("find").toLowerCase();
      const all = found.filter((one) => (named(stimuli, one.target) + " " + one.target).toLowerCase().includes(wanted));
      const total = data.runs.filter((run) => run.repetitions === get("repetitions") && chosen(run)).reduce((sum, run) => sum + run.of, 0);
      if (!all.length) {
        status.textContent = found.length ? "No stimulus has this in its name." : "No query: this method has none of this task with so many repetitions averaged.";
        panes.replaceChildren();
        return;
      }
      const part = total > found.length;
      if (get("view") === "queries" && get("target") && !all.some((one) => one.target === get("target"))) { tell(`stimulus ${get("target")}`); keep({ target: null }); link.href = "#" + state; }
      const only = get("view") === "queries" && get("target") ? all.filter((one) => one.target === get("target")) : all;
      const first = only.filter((one) => one.rank === 1).length;
      const of = part ? ` of ${total}` : only.length < found.length ? ` of ${found.length}` : "";
      status.textContent = `${only.length}${of} queries, ${first} with the right candidate first.` +
        (part ? " This is a part, the first ones of every stimulus, and not a random one: for accuracy see the tables." : "") +
        (index.pictures[get("study")] === "hide" ? " Pictures are hidden: their names are shown instead." : "");
      if (get("view") === "queries") await showQueries(all, stimuli, mine);
      else if (get("view") === "hardest") showHardest(all, stimuli);
      else showConfused(all, stimuli);
      hint();
    } catch (error) {
      if (mine === turn) { status.textContent = error.message; panes.replaceChildren(); }
    }
  }

  // ------------------------------------------------------------------------------------------------ list and query

  async function showQueries(all, stimuli, mine) {
    const only = get("target");
    const listed = all.filter((one) => !only || one.target === only);
    const down = get("order") !== "best";
    listed.sort((one, other) => (down ? other.rank - one.rank : one.rank - other.rank) || (one.target < other.target ? -1 : one.target > other.target ? 1 : 0) || one.query - other.query);
    const asked = get("query") && listed.find((one) => nameOf(one) === get("query"));
    const current = asked || listed[0];
    if (get("query") && !asked) { tell(`query ${get("query")}`); keep({ query: null }); link.href = "#" + state; }
    count = Math.max(count, listed.indexOf(current) + 1);
    const order = make("select", { "aria-label": "Order of the queries", onchange: (event) => { keep({ order: event.target.value, query: null }); show(); } },
      make("option", { value: "worst", text: "worst rank first" }), make("option", { value: "best", text: "best rank first" }));
    order.value = down ? "worst" : "best";
    const rows = listed.slice(0, count).map((one) => make("tr", { "aria-current": one === current ? "true" : null },
      make("td", { class: "num", text: one.rank + " of " + one.n }),
      make("td", null, picture(stimuli, one.target, 40)),
      make("td", null, make("button", { type: "button", text: named(stimuli, one.target), onclick: () => { keep({ query: nameOf(one) }); show().then(reveal); } }),
        get("repetitions") === "all" ? null : make("span", { class: "soft", text: ` query ${one.query}` })),
      make("td", { text: one.subject }), make("td", { text: one.seed }), make("td", { class: "num", text: digits(one.margin, 3) })));
    const list = make("table", null, caption((only ? "Queries for " + named(stimuli, only) : "Queries") + ". " + (get("task").startsWith("category") ? "The right candidate is a class, which is no picture. " : "") + "Margin: similarity of the right candidate minus that of the best other, times the length of the predicted vector where it has one: below 0 it is missed, and margins of two methods are not comparable. A click on a stimulus shows its query, and the link of the view then names it."), head("Rank", "Seen", "Stimulus", "Subject", "Seed", "Margin"), make("tbody", null, ...rows));
    const more = listed.length > count ? make("button", { type: "button", class: "plain", text: `Show ${Math.min(LISTED, listed.length - count)} more of ${listed.length}`, onclick: () => { count += LISTED; show(); } }) : null;
    const back = only ? make("button", { type: "button", class: "plain", text: "All stimuli", onclick: () => { keep({ target: null, query: null }); show(); } }) : null;
    const detail = make("div", { id: "detail", tabindex: "-1" });
    put(panes,
      make("div", null, make("p", { class: "filter" }, order, " ", back, " ", make("button", { type: "button", class: "plain", text: "These as CSV", onclick: () => take(listed) })),
        make("div", { class: "list", tabindex: "0", role: "region", "aria-label": "List of queries" }, list), more),
      detail);
    const box = panes.querySelector(".list");
    const row = box.querySelector("tr[aria-current]");
    if (row && row.offsetTop + row.offsetHeight > box.clientHeight) box.scrollTop = row.offsetTop - box.clientHeight / 2;
    if (current) await showQuery(current, stimuli, detail, mine);
  }

  async function showQuery(one, stimuli, place, mine) {
    const place_of = one.best.indexOf(one.target);
    const brains = get("task").endsWith("-to-brain");
    const generated = make("section", { class: "generated" });
    const candidates = one.best.map((id, position) => make("li", { class: id === one.target ? "right" : null },
      picture(stimuli, id, 96), make("strong", { text: position + 1 + ". " }), named(stimuli, id), ...told(stimuli, id),
      make("div", { text: "similarity " + digits(one.similarities[position], 3) }),
      id === one.target ? make("span", { class: "right-word", text: "✓ the right candidate" }) : null));
    put(place,
      make("h3", { text: named(stimuli, one.target) }),
      make("div", { class: "seen" }, picture(stimuli, one.target, 96), make("div", null,
        make("div", null, make("strong", { text: `Rank ${one.rank} of ${one.n}` }), `, similarity ${digits(one.similarity, 3)}, margin ${digits(one.margin, 3)}`),
        make("div", { class: "soft", text: `${label(one.method)}; subject ${one.subject}, seed ${one.seed}, query number ${one.query} (counted from 0)` }), ...told(stimuli, one.target))),
      generated,
      make("h4", { text: brains ? "Brain responses to" : "Best candidates" }),
      one.best.length ? make("ol", { class: "candidates" }, ...candidates) : make("p", { text: "The rows name no candidates (ranks from another program)." }),
      one.best.length && place_of < 0 ? make("p", { text: `The right candidate is not among the best ${one.best.length}.` }) : null,
      make("h4", { text: "The same stimulus, all methods and subjects" }));
    const holder = make("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "The same stimulus by method and subject" }, make("p", { text: "Loading …" }));
    place.append(holder);
    const block = index.blocks[[get("study"), get("signal"), get("protocol")].join("/")];
    await showGenerated(one, stimuli, generated);
    const found = await Promise.all(block.methods.map((method) => load(fileOf(method)).then((data) => queriesOf(data, method).filter((other) => other.target === one.target && (!get("seed") || String(other.seed) === get("seed"))))));
    if (mine !== turn) return;
    const rows = block.methods.map((method, number) => {
      const cells = block.subjects.map((subject) => {
        const own = found[number].filter((other) => other.subject === subject);
        if (!own.length) return make("td", { class: "num", text: "–" });
        const text = own.length === 1 ? String(own[0].rank) : digits(mean(own.map((other) => other.rank)), 1);
        const title = `${label(method)}, subject ${subject}: ` + (own.length === 1 ? "rank " : `mean rank over ${own.length} queries `) + text;
        return make("td", { class: "num" }, make("a", { href: viewOf({ method, query: nameOf(own[0]), view: "queries", ...(get("subject") && get("subject") !== subject ? { subject: null } : {}) }), text, title, "aria-label": title }));
      });
      return make("tr", { "aria-current": method === one.method ? "true" : null }, make("th", { scope: "row", text: label(method) }), ...cells);
    });
    holder.replaceChildren(make("table", null, caption("Rank (mean rank if there are several queries or seeds)"),
      make("thead", null, make("tr", null, make("th", { scope: "col", text: "Method" }), ...block.subjects.map((subject) => make("th", { scope: "col", class: "num", text: subject })))),
      make("tbody", null, ...rows)));
  }

  // Pictures are generated of predictions from all repetitions, so they stand beside those queries alone.
  async function showGenerated(one, stimuli, place) {
    if (get("task") !== "stimulus" || get("repetitions") !== "all") return;
    const key = [get("study"), get("signal"), get("protocol"), one.method].join("/");
    const hidden = index.pictures[get("study")] === "hide";
    const block = [get("study"), get("signal"), get("protocol")].join("/");
    const others = index.blocks[block].methods.filter((method) => index.generated[block + "/" + method]);
    if (!index.generated[key] && others.length) {
      place.append(make("p", { class: "soft" }, "Generated pictures: not for this method, only for ",
        ...others.flatMap((method, number) => [number ? ", " : "", make("a", { href: viewOf({ method, query: null, target: one.target }), text: label(method) })]), "."));
    }
    for (const generator of index.generated[key] || []) {
      const [data, oracle] = await Promise.all([load(["generated", key, generator].join("/")), load(["oracle", get("study"), generator].join("/"))]);
      const run = data.runs.find((other) => other.subject === one.subject && other.seed === one.seed);
      const found = run && run.stimuli[one.target];
      if (!found) continue;
      const seen = named(stimuli, one.target);
      const near = data.concepts[found.nearest] || found.nearest;
      const sample = (words, all, number) => (all.length > 1 ? `${words}, sample ${number + 1}` : words);
      const cards = [];
      const card = (uri, alt, words, id) => cards.push(make("li", null, uri ? make("img", { src: uri, alt, width: 96, height: 96 }) : null, make("strong", { text: words }),
        id ? make("div", null, data.concepts[id] || id, make("span", { class: "soft", text: " " + id })) : null));
      if (!hidden) card(stimuli.pictures[one.target], "Seen: " + seen, "Seen");
      found.pictures.forEach((uri, number, all) => card(uri, sample("Generated from the response to " + seen, all, number), sample("Generated", all, number)));
      if (found.start) card(data.pictures[found.start], "Picture that generation started from: " + (data.concepts[found.start] || found.start), "Started from", found.start);
      if (found.nearest) card(data.pictures[found.nearest], "Nearest of the training bank: " + near, "Nearest of the training bank", found.nearest);
      (oracle[one.target] || []).forEach((uri, number, all) => card(uri, sample("Oracle, generated from the seen picture's own embedding: " + seen, all, number), sample("Oracle", all, number)));
      const lines = [["Generated", "generated"], ["Nearest", "nearest"], ["Oracle", "oracle"]].flatMap(([words, source]) => found.scores[source].map((values, number, all) =>
        make("tr", null, make("th", { scope: "row", text: sample(words, all, number) }), ...values.map((text) => make("td", { class: "num", text })))));
      place.append(make("h4", { text: `Generated pictures (generator ${generator})` }), hidden ? make("p", { text: "Pictures are hidden." }) : "", make("ul", { class: "candidates" }, ...cards),
        make("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Judgements of pictures by " + generator }, make("table", null,
          caption("Similarity to the seen picture; the oracle is generated from the embedding of the seen picture itself"),
          make("thead", null, make("tr", null, make("th", { scope: "col", text: "Picture" }), ...data.columns.map((text) => make("th", { scope: "col", class: "num", text })))), make("tbody", null, ...lines))));
    }
  }

  function viewOf(changes) {
    const other = new URLSearchParams(state);
    for (const [key, value] of Object.entries(changes)) if (value === null) other.delete(key); else other.set(key, value);
    return "#" + other;
  }

  // ---------------------------------------------------------------------------------------------- hard and confused

  function groups(all, key) {
    const found = new Map();
    for (const one of all) { const name = key(one); if (!found.has(name)) found.set(name, []); found.get(name).push(one); }
    return found;
  }

  function showHardest(all, stimuli) {
    const lines = [...groups(all, (one) => one.target)].map(([target, own]) => ({ target, own, rank: mean(own.map((one) => one.rank)), first: mean(own.map((one) => (one.rank === 1 ? 1 : 0))) }));
    lines.sort((one, other) => other.rank - one.rank || (one.target < other.target ? -1 : 1));
    const rows = lines.slice(0, count).map((line) => make("tr", null, make("td", null, picture(stimuli, line.target, 56)),
      make("th", { scope: "row" }, make("a", { href: viewOf({ view: "queries", target: line.target, query: null }), text: named(stimuli, line.target) }), ...told(stimuli, line.target)),
      make("td", { class: "num", text: digits(line.rank, 1) }), make("td", { class: "num", text: digits(100 * line.first, 0) }), make("td", { class: "num", text: line.own.length })));
    put(panes, make("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Hardest stimuli" }, make("table", null,
      caption("Hardest first, by the mean rank of the queries chosen above; picked by this result"), head("Seen", "Stimulus", "Mean rank", "Found first (%)", "Queries"), make("tbody", null, ...rows))));
  }

  function showConfused(all, stimuli) {
    const wrong = all.filter((one) => one.best.length && one.best[0] !== one.target);
    const sizes = groups(all, (one) => one.target);
    const lines = [...groups(wrong, (one) => JSON.stringify([one.target, one.best[0]]))].map(([, own]) => ({ seen: own[0].target, found: own[0].best[0], share: own.length / sizes.get(own[0].target).length }));
    lines.sort((one, other) => other.share - one.share || (one.seen < other.seen ? -1 : 1));
    const rows = lines.slice(0, count).map((line) => make("tr", null, make("td", null, picture(stimuli, line.seen, 56)),
      make("th", { scope: "row" }, make("a", { href: viewOf({ view: "queries", target: line.seen, query: null }), text: named(stimuli, line.seen) })),
      make("td", null, picture(stimuli, line.found, 56)), make("td", { text: named(stimuli, line.found) }), make("td", { class: "num", text: digits(100 * line.share, 0) })));
    put(panes, make("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Most confused stimuli" }, make("table", null,
      caption("What stood first instead, in one direction: share of the queries for the left stimulus that found the right one first; picked by this result"), head("Seen", "Stimulus", "Found", "Found instead", "Share (%)"), make("tbody", null, ...rows))));
  }

  function take(listed) {
    const quoted = (value) => (/[",\n]/.test(String(value)) ? `"${String(value).replace(/"/g, '""')}"` : String(value ?? ""));
    const names = ["study", "signal", "protocol", "task", "repetitions"];
    const header = [...names, "method", "subject", "seed", "query", "target", "rank", "n_candidates", "similarity", "margin", "top_ids"];
    const lines = listed.map((one) => [...names.map(get), one.method, one.subject, one.seed, one.query, one.target, one.rank, one.n, one.similarity, one.margin, one.best.join(" ")].map(quoted).join(","));
    const address = URL.createObjectURL(new Blob([[header.join(","), ...lines].join("\n") + "\n"], { type: "text/csv" }));
    const anchor = make("a", { href: address, download: "queries.csv" });
    document.body.append(anchor);
    anchor.click();
    anchor.remove();
    URL.revokeObjectURL(address);
  }

  function build() {
    const controls = make("div", { class: "controls" }, ...KEYS.map((key) => {
      fields[key] = make("select", { id: "explore-" + key, onchange: (event) => { keep({ [key]: event.target.value, query: null, ...(key === "study" || key === "task" ? { target: null } : {}) }); count = LISTED; show(); } });
      return make("label", { for: "explore-" + key }, WORDS[key], fields[key]);
    }));
    tabs = Object.fromEntries(Object.entries(VIEWS).map(([view, text]) => [view, make("button", { type: "button", text, onclick: () => { keep({ view, query: null, target: null }); count = LISTED; show(); } })]));
    search = make("input", { type: "search", id: "explore-find", oninput: (event) => { keep({ find: event.target.value, query: null, target: null }); count = LISTED; show(); } });
    controls.append(make("label", { for: "explore-find" }, "Name of the stimulus has", search));
    status = make("p", { class: "status", role: "status" });
    notice = make("p", { class: "warning", role: "status", hidden: true });
    link = make("a", { href: "#", text: "Link to this view" });
    const copied = make("span", { class: "soft", role: "status" });
    const copy = make("button", { type: "button", class: "plain", text: "Copy link", onclick: async () => {
      copied.textContent = (await clip(link.href)) ? " Copied." : " Your browser does not let pages copy: copy the address above.";
      setTimeout(() => { copied.textContent = ""; }, 4000);
    } });
    panes = make("div", { class: "panes" });
    root.append(controls, make("div", { class: "tabs", role: "group", "aria-label": "View" }, ...Object.values(tabs)), notice, status, make("p", null, link, " ", copy, copied), panes);
    root.hidden = false;
  }

  // Whether a text could be put on the clipboard; pages from disk may not use the newer way in every browser.
  async function clip(text) {
    try { await navigator.clipboard.writeText(text); return true; } catch { /* the older way, then */ }
    const field = make("textarea", { "aria-label": "Link", style: "position: fixed; opacity: 0" });
    field.value = text;
    document.body.append(field);
    field.select();
    const done = document.execCommand("copy");
    field.remove();
    return done;
  }

  // -------------------------------------------------------------------------------------------------------- begin

  // Says where there is more to the right.
  function hint() {
    document.querySelectorAll(".scroll").forEach((one) => one.classList.toggle("wide", one.scrollWidth > one.clientWidth + 1));
  }

  const asksForQuery = () => get("view") === "queries" && Boolean(get("query") || get("target"));

  function opened(place) {
    for (let one = place; one; one = one.parentElement) if (one.tagName === "DETAILS") one.open = true;
  }

  document.querySelectorAll("table.sortable").forEach(equip);
  const addressed = readState();
  restored.forEach((restore) => restore());
  if (blocks.length) {
    build();
    // What is not looked at is not loaded: the explorer begins when it comes near, or when the address asks for it.
    if (addressed && state.has("study")) show().then(() => { document.getElementById("explorer").scrollIntoView(); if (asksForQuery()) reveal(); });
    else new IntersectionObserver((seen, observer) => { if (seen.some((one) => one.isIntersecting)) { observer.disconnect(); show(); } }, { rootMargin: "600px" }).observe(root);
  } else root.replaceWith(make("p", { text: "There are no queries to explore." }));
  window.addEventListener("hashchange", () => {
    if (readState()) {
      restored.forEach((restore) => restore());
      if (blocks.length && state.has("study")) show().then(reveal);
    } else {
      const place = document.getElementById(decodeURIComponent(location.hash.slice(1)));
      if (place) { opened(place); place.scrollIntoView(); }
    }
  });
  const place = addressed ? null : document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (place) { opened(place); place.scrollIntoView(); }
  hint();
  window.addEventListener("resize", hint);
  document.addEventListener("toggle", hint, true);
  // A browser repeats the head of a table on each sheet of paper, but not the buttons in it.
  const turned = [];
  window.addEventListener("beforeprint", () => {
    document.querySelectorAll("details.table").forEach((one) => { one.open = true; });
    document.querySelectorAll("th > button").forEach((button) => {
      const words = make("span", null, ...[...button.childNodes].map((one) => one.cloneNode(true)));
      turned.push([words, button]);
      button.replaceWith(words);
    });
  });
  window.addEventListener("afterprint", () => { for (const [words, button] of turned.splice(0)) words.replaceWith(button); });
})();
