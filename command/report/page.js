// Shows what `panopticon-convert --format=report` gathered (specs/trace-mapping.md, section 8.4), or what `panopticon diff`
// compared (docs/diff.md): the flame graph by d3-flame-graph, the tables by Tabulator. Names are put into the page as text, never as markup.
"use strict";
(() => {
const { Tabulator, flamegraph, select } = library;
Tabulator.registerModule([library.FilterModule, library.FormatModule, library.InteractionModule,
                          library.ResizeColumnsModule, library.ResizeTableModule, library.SortModule]);

const data = JSON.parse(document.getElementById("data").textContent);
const isComparison = "before" in data;
const { functions, threads = [], processes = [], calls = [], tasks = [], options = [] } = data;
for (const one of document.querySelectorAll(`[data-of=${isComparison ? "capture" : "comparison"}]`))
    one.remove();
const find = id => document.getElementById(id);
const shown = processes.filter(process => process.shown);
const estimated = functions.filter(one => one.estimated);
if (isComparison)                       // the names of a capture have it
    for (const one of estimated)
        one.name = `~${one.name}`;
const MIN_WIDTH = 1.5;                  // of a bar that is drawn, in pixels
const LETTER = 7;                       // the width of one in a bar
const HUES = [212, 28, 135, 275, 50, 335, 172, 245, 88, 305, 192, 5];

// ---- texts

const count = n => n.toLocaleString("en");
const plural = (n, one, more = `${one}s`) => `${count(n)} ${n === 1 ? one : more}`;
const percent = share => `${(100 * share).toFixed(share < 0.0995 ? 1 : 0)} %`;
const seconds = ns => `${(ns / 1e9).toFixed(6)} s`;

/** A length with three digits and a unit. */
function time(ns) {
    if (ns < 1000)
        return ns ? `${ns} ns` : "0";
    let value = ns / 1000, unit = 0;
    for (; value >= 999.5 && unit < 2; unit++)
        value /= 1000;
    return `${value.toFixed(value < 9.995 ? 2 : value < 99.95 ? 1 : 0)} ${["µs", "ms", "s"][unit]}`;
}

/** Where the function is, without what all files of a library have in common. */
function place(one) {
    if (!one.file)
        return "";
    const parts = one.file.replace(/^.*\/(site-packages|dist-packages|lib\/python3\.\d+)\//, "").split("/");
    return `${parts.length > 4 ? `…/${parts.slice(-2).join("/")}` : parts.join("/")}:${one.line}`;
}

/** The end of a name, for where there is no space for all of it: `Decoder.decode`, `~decode`; of a module's own code, all. */
function shorten(name) {
    const [, sign, plain] = name.match(/^(~?)(.*)$/s), parts = plain.replace(/<locals>\./g, "").split(".");
    const isMethod = /^[A-Z]/.test(parts[parts.length - 2]);
    return parts[parts.length - 1] === "<module>" ? name : sign + parts.slice(isMethod ? -2 : -1).join(".");
}

function element(tag, properties, ...children) {
    const made = Object.assign(document.createElement(tag), properties);
    made.append(...children);
    return made;
}

const searched = text => text.toLowerCase();
for (const one of functions) {
    one.place = place(one);
    one.searched = searched(`${one.name} ${one.file || ""}`);
}
if (!isComparison)
    for (const one of estimated)
        delete one.max_ns;              // it is not known

const FLAGS = { exception: "left by an exception", unfinished: "not finished", cut: "cut off by the selection",
                noticed_late: "its begin was noticed late", begin_unknown: "its begin was not recorded",
                exit_missing: "its end was not recorded", inexact: "its begin or end is not exact" };
const note = item => Object.keys(FLAGS).filter(flag => item[flag] && !(flag === "begin_unknown" && item.noticed_late))
    .map(flag => FLAGS[flag]).join(", ");

// ---- the head, and what is missing

function describeMissing() {
    const items = [], add = (text, isBad = false) => items.push({ text, isBad });
    for (const message of data.messages)
        add(message.text, message.damage);
    if (data.n_messages > data.messages.length)
        add(`${plural(data.n_messages - data.messages.length, "more message")} of that kind.`, true);
    const unseen_ns = Math.max(...shown.map(process => process.unseen_ns || 0));
    if (unseen_ns > 0)
        add(`Calls of muted functions of up to ${time(unseen_ns)} may be missing: looks for slow calls came late.`);
    const n_before = items.length;
    for (const rule of new Set(shown.flatMap(process => (process.filters || "").split("\n")).filter(Boolean)))
        add(`The recorder was told: ${rule}.`);
    for (const ns of new Set(shown.map(process => process.min_duration_ns).filter(Boolean)))
        add(`The recorder left out calls shorter than ${time(ns)}.`);
    for (const percent of new Set(shown.map(process => process.max_overhead).filter(Boolean)))
        add(`Recording was to cost ${percent} % of the CPU time at most. Short calls may have been left out for that`
            + (estimated.length ? "; what they took is estimated, and marked with ~." : "."));
    for (const text of new Set(shown.map(process => process.calls_missing).filter(Boolean)))
        add(`Calls may be missing: ${text}.`);
    if (options.length)
        add(`This page shows a selection: ${options.join(" ")}`);
    if (shown.length < processes.length)
        add(`${plural(processes.length - shown.length, "process is", "processes are")} not selected.`);
    const n_chosen = items.length - n_before;
    if (data.left_out_stacks)
        add(`The flame graph has no bars for the ${plural(data.left_out_stacks, "shortest or deepest stack")}; the `
            + "tables have their calls.");
    return { items, isDamaged: items.some(item => item.isBad), n_notes: n_before, n_chosen };
}

function showHead() {
    const first = shown[0] || processes[0], missing = describeMissing();
    find("program").textContent = first.name;
    const started = data.start_realtime_ns
        && `${new Date(data.start_realtime_ns / 1e6).toISOString().slice(0, 19).replace("T", " ")} UTC`;
    find("summary").textContent = [first.python && `Python ${first.python}`, started, time(data.end_ns),
        plural(processes.length, "process", "processes"), plural(data.events, "event")].filter(Boolean).join("  ·  ");
    const state = data.lost_events ? `${plural(data.lost_events, "event was", "events were")} lost`
        : missing.isDamaged ? "Some of the recording is missing or damaged"
        : missing.n_notes ? plural(missing.n_notes, "note")
        : missing.n_chosen ? "Nothing was lost; some was left out by choice" : "Complete: nothing was lost";
    find("state").append(element("a", { href: "#capture" }, state));
    find("state").className = data.lost_events || missing.isDamaged ? "bad" : missing.n_notes ? "" : "good";
    if (!missing.items.length)
        missing.items.push({ text: "Nothing: no event was lost, and nothing was left out." });
    find("missing").append(...missing.items.map(
        item => element("li", { className: item.isBad ? "bad" : "" }, item.text)));
}

function list(rows) {
    return rows.filter(([, value]) => value || value === 0).flatMap(
        ([name, value]) => [element("dt", {}, name), element("dd", {}, String(value))]);
}

function showCapture() {
    for (const process of processes) {
        const facts = list([
            ["ended", process.end], ["began", `${seconds(process.begin_ns)} after the start`],
            ["duration", time(process.end_ns - process.begin_ns)], ["parent process", process.parent_pid],
            ["Python", process.python], ["interpreter", process.executable], ["recorder", process.recorder],
            ["host", process.host], ["boot", process.boot_id], ["container", process.container],
            ["engine", process.engine], ["why this engine", process.frame_engine_fault], ["clock", process.clock],
            ["filters", process.filters], ["shortest call", process.min_duration_ns && time(process.min_duration_ns)],
            ["budget", process.max_overhead && `${process.max_overhead} % of the CPU time`],
            ["lost events", process.lost], ["stopped", process.stopped]]);
        find("processes").append(element("details", { open: processes.length === 1 },
            element("summary", {}, `${process.pid}  ${process.name}${process.shown ? "" : " (not selected)"}`),
            element("dl", {}, ...facts)));
    }
    find("origin").append(...list([["capture", data.capture], ["written by", `Panopticon ${data.version}`],
        ["selected time", `${seconds(data.from_ns)} to ${seconds(data.to_ns)}`],
        ["options", options.join(" ")]]));
}

// ---- the head of a comparison

const SIDES = ["before", "after"];

/** A length or a number with its sign. */
const signed = format => n => n ? `${n < 0 ? "\u2212" : "+"}${format(Math.abs(n))}` : format(n);
const rise = figure => figure.before ? `${figure.difference < 0 ? "\u2212" : "+"}`
    + percent(Math.abs(figure.difference) / figure.before) : "";

/** The end of a path: what tells captures apart, mostly. */
const shortPath = path => path.split("/").filter(Boolean).pop() || path;

function showComparison() {
    const whole = data.self_ns, n_beyond = functions.filter(one => one.exceeds_noise).length;
    find("program").textContent = SIDES.map(side => data[side].map(shortPath).join(", ")).join(" \u2192 ");
    find("summary").textContent = [`all functions: ${time(whole.before)} before`, `${time(whole.after)} after`, rise(whole),
        n_beyond && plural(n_beyond, "difference exceeds the noise", "differences exceed the noise")].filter(Boolean).join("  \u00b7  ");
    find("state").append(element("a", { href: "#capture" }, plural(data.notes.length, "note")));
    find("missing").append(...(data.notes.length ? data.notes : ["Nothing else."]).map(
        text => element("li", {}, text)));
    find("origin").append(...list([...SIDES.map(side => [side, data[side].join("\n")]), ["sorted by", data.by],
        ["written by", `Panopticon ${data.version}`], ["options", options.join(" ")]]));
}

// ---- the flame graph

/** A hue for each package: those with the most self time get hues that differ the most. What is in the way of most
 * programs' own code has none: C functions, and the import system. */
function chooseColours() {
    const times = new Map();
    for (const one of functions)
        times.set(one.package = one.name.replace(/^~/, "").split(".", 1)[0], (times.get(one.package) || 0) + one.self_ns);
    times.delete("importlib");
    const order = [...times.keys()].sort((a, b) => times.get(b) - times.get(a));
    const hues = new Map(order.map((name, i) => [name, HUES[i % HUES.length]]));
    for (const one of functions) {
        const isPlain = one.kind === "c_function" || one.kind === "panopticon" || one.package === "importlib";
        one.colour = isPlain ? "var(--plain)" : `hsl(${hues.get(one.package)} var(--s) var(--l))`;
    }
}

function makeTree() {
    const nodes = [], roots = [];
    for (const [parent, which, ...figures] of data.stacks) {
        const isRoot = typeof which === "string", [calls, value] = isComparison ? [] : figures;
        const node = { name: isRoot ? which : functions[which].name, function: isRoot ? null : functions[which], calls,
                       value, children: [], sides: figures };
        nodes.push(node);
        (parent < 0 ? roots : nodes[parent].children).push(node);
    }
    if (isComparison)
        nodes.reverse().forEach(widen);         // those inside first
    for (const node of nodes)
        node.children.sort((a, b) => b.value - a.value);
    roots.sort((a, b) => b.value - a.value);
    const value = roots.reduce((sum, root) => sum + root.value, 0);
    const sides = SIDES.map((_, i) => roots.reduce((sum, root) => sum + root.sides[i], 0));
    return roots.length === 1 ? roots[0] : { name: "all processes", function: null, value, children: roots, sides };
}

/** Gives a node of a comparison its width: its own time, before or after, whichever is longer, and all inside it. */
function widen(node) {
    const own = SIDES.map((_, i) => node.children.reduce((left, child) => left - child.sides[i], node.sides[i]));
    node.value = node.children.reduce((sum, child) => sum + child.value, Math.max(...own, 0));
}

const difference = node => node.sides[1] - node.sides[0];

/** Red where a node's time has grown, blue where it has shrunk, as strong as its part of the largest difference. */
function colourDifference(node, max) {
    const strength = max ? Math.round(100 * Math.sqrt(Math.abs(difference(node)) / max)) / 100 : 0;
    return strength < 0.05 ? "var(--plain)" : `hsla(${difference(node) > 0 ? 4 : 212}, 74%, 55%, ${strength})`;
}

function makeFlame() {
    const graph = find("graph"), tree = makeTree(), isCalm = matchMedia("(prefers-reduced-motion: reduce)").matches;
    const width = () => Math.max(graph.clientWidth, 200);
    const max = isComparison ? data.stacks.reduce((max, [, , before, after]) => Math.max(max, Math.abs(after - before)), 0) : 0;
    const describe = node => isComparison ? describeSides(node) : [time(node.value), tree.value ? percent(node.value / tree.value) : "",
                              node.function ? plural(node.calls, "call") : "",
                              node.function && node.function.estimated ? "estimated" : ""].filter(Boolean);
    const chart = flamegraph().cellHeight(20).minFrameSize(MIN_WIDTH).inverted(true).resetHeightOnZoom(true)
        .transitionDuration(isCalm ? 0 : 200).width(width())
        .getName(d => (d.x1 - d.x0) * chart.width() > LETTER * d.data.name.length || !d.data.function ? d.data.name
            : shorten(d.data.name))
        .setLabelHandler(d => [d.data.name, ...describe(d.data)].join(", "))
        .setDetailsHandler(() => {})
        .setColorMapper(d => d.highlight ? "var(--found)" : isComparison ? colourDifference(d.data, max)
            : d.data.function ? d.data.function.colour : "var(--plain)")
        .setSearchMatch((d, term) => Boolean(d.data.function) && d.data.function.searched.includes(term))
        .setSearchHandler(results => showFound(results))
        .onHover(d => showNode(d.data))
        .onClick(d => { decorate(d); showNode(d.data); });

    function describeSides(node) {
        const [before, after] = node.sides, figure = { before, after, difference: after - before };
        return [`${time(before)} before`, `${time(after)} after`, signed(time)(figure.difference), rise(figure)].filter(Boolean);
    }

    function showNode(node) {
        const one = node.function, more = describe(node);
        if (one && !isComparison)
            more.push(`self ${time(one.self_ns)}`
                + (one.calls > node.calls ? ` in all its ${count(one.calls)} calls` : ""));
        find("frame").replaceChildren(element("b", {}, node.name), " ",
            element("span", {}, one ? one.place : ""), element("br"),
            ...more.map((text, i) => element("span", { style: i ? "" : "margin-left: 0" }, text)));
    }

    function showFound(results) {
        const found = new Set(results);
        let sum = 0;
        for (const d of results) {
            let above = d.parent;
            while (above && !found.has(above))
                above = above.parent;
            sum += above ? 0 : d.data.value;
        }
        const share = tree.value ? sum / tree.value : 0;
        find("frame").replaceChildren(
            element("b", {}, plural(results.length, "bar matches", "bars match")), element("br"),
            element("span", { style: "margin-left: 0" }, `${time(sum)} in them, ${percent(share)}`));
    }

    /** Makes the bars a tree for the keyboard and for screen readers; focused: the one that Tab reaches. */
    function decorate(focused) {
        const bars = graph.querySelectorAll("g");
        for (const bar of bars) {
            const d = bar.__data__;
            bar.setAttribute("role", "treeitem");
            bar.setAttribute("aria-level", d.depth + 1);
            bar.setAttribute("aria-label", [d.data.name, ...describe(d.data)].join(", "));
            bar.setAttribute("tabindex", d === focused ? 0 : -1);
        }
        const svg = graph.querySelector("svg");
        svg.setAttribute("role", "tree");
        svg.setAttribute("aria-label", "Flame graph");
    }

    function neighbour(d, key, drawn) {
        if (key === "ArrowUp")
            return d.parent;
        if (key === "ArrowDown")
            return (d.children || []).find(child => drawn.has(child));
        const siblings = d.parent ? d.parent.children.filter(each => drawn.has(each)) : [];
        return siblings[siblings.indexOf(d) + { ArrowLeft: -1, ArrowRight: 1 }[key]];
    }

    graph.addEventListener("keydown", event => {
        const d = event.target.__data__;
        if (event.key === "Escape") {
            chart.resetZoom();
        } else if (!d) {
            return;
        } else if (event.key === "Enter" || event.key === " ") {
            chart.zoomTo(d);
        } else if (event.key.startsWith("Arrow")) {
            const drawn = new Map([...graph.querySelectorAll("g")].map(bar => [bar.__data__, bar]));
            const bar = drawn.get(neighbour(d, event.key, drawn));
            if (bar) {
                event.target.setAttribute("tabindex", -1);
                bar.setAttribute("tabindex", 0);
                bar.focus();
            }
        } else {
            return;
        }
        event.preventDefault();
    });
    graph.addEventListener("focusin", event => event.target.__data__ && showNode(event.target.__data__.data));

    const root = () => select(graph).datum();
    if (tree.value) {
        select(graph).datum(tree).call(chart);
        decorate(root());
        showNode(tree);
        new ResizeObserver(() => {
            if (graph.clientWidth && width() !== chart.width()) {
                chart.width(width()).update();
                decorate(root());
            }
        }).observe(graph);
    } else {
        graph.append(element("p", { className: "faint" }, "There are no calls in this capture."));
    }
    const undrawn = count(data.left_out_stacks);
    document.querySelector(".undrawn").textContent = `Bars narrower than ${MIN_WIDTH} pixels appear when you zoom in`
        + (data.left_out_stacks ? `, but not those of the ${undrawn} shortest or deepest stacks.` : ".");
    return { search(term) {
        if (!tree.value)
            return;
        if (term)
            chart.search(term);
        else
            chart.clear(), showNode(tree);
        decorate(root());
    } };
}

// ---- the tables

const text = (title, field, more) => ({ title, field, sorter: "string", formatter: cell =>
    element("span", { title: cell.getValue() || "" }, cell.getValue() || ""), ...more });
const number = (title, field, format = count, width = 96, more) => ({ title, field, width, sorter: "number",
    hozAlign: "right", headerHozAlign: "right", headerSortStartingDir: "desc",
    sorterParams: { alignEmptyValues: "bottom" },
    formatter: cell => element("span", { className: "number" },
                               cell.getValue() === undefined ? "" : format(cell.getValue())),
    ...more });

/** A time with a bar behind it, as long as its share of the longest. */
const barred = (title, field, rows) => {
    const max = rows.reduce((max, row) => Math.max(max, row[field] || 0), 1);
    return number(title, field, time, 116, { formatter: cell => {
        const shown = element("span", { className: "number share" }, time(cell.getValue()));
        const share = 100 * cell.getValue() / max;
        shown.style.background = `linear-gradient(to right, var(--bar) ${share}%, transparent ${share}%)`;
        return shown;
    } });
};
const functionName = text("Function", "name", { widthGrow: 3, minWidth: 200, formatter: cell =>
    element("button", { type: "button", title: `${cell.getValue()}: show in the flame graph`,
                        onclick: () => search(cell.getValue(), "flame") }, cell.getValue()) });
const threadName = text("Thread", "thread", { widthGrow: 1, minWidth: 100 });
const where = text("Where", "place", { widthGrow: 2, minWidth: 120, formatter: cell =>
    element("span", { className: "faint", title: cell.getRow().getData().file || "" }, cell.getValue()) });
const processColumn = shown.length > 1 ? [text("Process", "process", { widthGrow: 1, minWidth: 110 })] : [];

const noteColumn = items => items.some(note) ? [text("Note", "note", { widthGrow: 1, minWidth: 120 })] : [];

const nameOfProcess = i => `${processes[i].pid} ${processes[i].name}`;

/** A row for a call or a task. */
function itemRow(item) {
    const one = functions[item.function] || { name: "", place: "", searched: "" }, thread = threads[item.thread];
    return { ...item, name: one.name, place: one.place, file: one.file, thread: thread.name, note: note(item),
             process: nameOfProcess(thread.process), searched: one.searched };
}

const taskRow = item => ({ ...itemRow(item), share: item.ns ? item.running_ns / item.ns : 1 });

function threadRow(one) {
    return { ...one, process: nameOfProcess(one.process), searched: searched(one.name) };
}

const kindColumn = threads.some(one => one.greenlet) ? [text("Kind", "greenlet", { width: 100, sorter: "boolean",
    formatter: cell => cell.getValue() ? "greenlet" : "thread" })] : [];

/** A bar from the begin to the end of a row, in the time of the page. */
function showLife(cell) {
    const row = cell.getRow().getData(), length = Math.max(data.to_ns - data.from_ns, 1);
    if (row.begin_ns === undefined)
        return "";
    const bar = element("span", { className: "span", title: `${seconds(row.begin_ns)} to ${seconds(row.end_ns)}` });
    bar.style.marginLeft = `${100 * (row.begin_ns - data.from_ns) / length}%`;
    bar.style.width = `${100 * (row.end_ns - row.begin_ns) / length}%`;
    return bar;
}

const suspendedColumn = functions.some(one => one.suspended_ns) ? [number("Suspended", "suspended_ns", time, 124)] : [];

/** The columns of a figure of a comparison: what it was, what it is, and by how much it differs. */
const COMPARED = [["calls", "Calls", count], ["self_ns", "Self", time], ["total_ns", "Total", time], ["mean_ns", "Mean", time]];

const comparedRow = one => Object.assign({ ...one, fate: one.new ? "new" : one.gone ? "gone" : one.exceeds_noise ? "!" : "" },
    ...COMPARED.map(([field]) => ({ [`${field}_before`]: given(one, field, "before"), [`${field}_after`]: given(one, field, "after"),
                                    [`${field}_difference`]: given(one, field, "difference") })));

/** A figure, or undefined where it is not known. */
function given(one, field, part) {
    const value = one[field] && one[field][part];
    return value === null ? undefined : value;
}

function comparedColumns() {
    const isShown = field => field === "self_ns" || field === `${data.by}_ns` || field === data.by;
    return COMPARED.flatMap(([field, title, format]) => [
        ...(isShown(field) ? [number(`${title} before`, `${field}_before`, format, 136),
                              number(`${title} after`, `${field}_after`, format, 128)] : []),
        number(`${title} \u00b1`, `${field}_difference`, signed(format), 104)]);
}

const TABLES = isComparison ? {
    functions: () => ({ rows: functions.map(comparedRow), columns: [
        functionName, where, text("", "fate", { width: 56 }), ...comparedColumns()] }),
} : {
    functions: () => ({ rows: functions, sort: "self_ns", columns: [
        functionName, where, number("Calls", "calls"), barred("Self", "self_ns", functions),
        barred("Total", "total_ns", functions), number("Mean", "mean_ns", time), number("Longest", "max_ns", time, 108),
        ...suspendedColumn] }),
    calls: () => ({ rows: calls.map(itemRow), sort: "ns", columns: [
        functionName, where, barred("Length", "ns", calls), number("Started at", "begin_ns", seconds, 120),
        threadName, ...processColumn, ...noteColumn(calls)] }),
    threads: () => ({ rows: threads.map(threadRow), sort: "outermost_ns", columns: [
        text("Thread", "name", { widthGrow: 2, minWidth: 140 }), ...kindColumn, number("Id", "tid", String, 104),
        ...processColumn, barred("In calls", "outermost_ns", threads), number("Calls", "slices"),
        text("From start to end", "begin_ns", { sorter: "number", widthGrow: 2, minWidth: 160, formatter: showLife })] }),
    tasks: () => ({ rows: tasks.map(taskRow), sort: "ns", columns: [
        functionName, where, barred("Lived", "ns", tasks), number("Ran", "running_ns", time),
        number("Share", "share", percent, 80), number("Runs", "slices", count, 80),
        number("Began at", "begin_ns", seconds, 120), threadName, ...processColumn, ...noteColumn(tasks)] }),
};

const EMPTY = { tasks: "No event loop ran tasks in this capture." };

function makeTable(id) {
    const { rows, sort, columns } = TABLES[id](), place = find(id).querySelector(".table");
    const table = new Tabulator(place, {
        data: rows, columns, layout: "fitColumns", height: "100%", columnHeaderSortMulti: false,
        placeholder: rows.length ? "Nothing matches the search." : EMPTY[id] || "There are no calls in this capture.",
        columnDefaults: { headerSortTristate: false, resizable: "header" },
        initialSort: sort ? [{ column: sort, dir: "desc" }] : [] });
    const term = () => searched(find("term").value.trim());
    const built = new Promise(done => table.on("tableBuilt", done)).then(() => {
        // A grid may contain rows and groups of rows only: Tabulator's holder, which the keyboard scrolls, is neither.
        place.querySelector(".tabulator-tableholder").setAttribute("role", "rowgroup");
        place.querySelector(".tabulator-table").setAttribute("role", "presentation");
        for (const heading of place.querySelectorAll(".tabulator-col.tabulator-sortable")) {
            heading.tabIndex = 0;
            heading.addEventListener("keydown", event => {
                if (event.target === heading && (event.key === "Enter" || event.key === " ")) {
                    event.preventDefault();
                    heading.click();
                }
            });
        }
    });
    const matches = row => row.searched.includes(term());
    const apply = () => built.then(() => term() ? table.setFilter(matches) : table.clearFilter());
    apply();
    return { search: apply };
}

// ---- views, and the search that all of them share

const views = {}, sections = [...document.querySelectorAll("main > section")];
const COUNTS = { functions: functions.length, calls: calls.length, threads: threads.length, tasks: data.n_tasks };
let current = null;

function show(id) {
    current = sections.some(section => section.id === id) ? id : "flame";
    for (const section of sections) {
        const isCurrent = section.id === current, tab = find(`tab-${section.id}`);
        section.hidden = !isCurrent;
        tab.setAttribute("aria-selected", isCurrent);
        tab.tabIndex = isCurrent ? 0 : -1;
    }
    if (current === "capture")
        return;
    if (!views[current]) {
        views[current] = current === "flame" ? makeFlame() : makeTable(current);
        if (current === "flame" && !find("term").value)
            return;
    }
    views[current].search(searched(find("term").value.trim()));
}

function search(term, id = current) {
    find("term").value = term;
    show(id);
    history.replaceState(null, "", `#${current}`);
}

function makeTabs() {
    for (const section of sections) {
        const tab = element("button", { type: "button", id: `tab-${section.id}` }, section.dataset.title);
        if (section.id in COUNTS)
            tab.append(" ", element("small", {}, count(COUNTS[section.id])));
        tab.onclick = () => { location.hash = section.id; };
        tab.setAttribute("role", "tab");
        tab.setAttribute("aria-controls", section.id);
        find("tabs").append(tab);
    }
    find("tabs").addEventListener("keydown", event => {
        const tabs = [...find("tabs").children], step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
        const next = step && tabs[(tabs.indexOf(event.target) + step + tabs.length) % tabs.length];
        if (next) {
            next.focus();
            next.click();
        }
    });
}

let timer = null;
find("term").addEventListener("input", () => {
    clearTimeout(timer);
    timer = setTimeout(() => show(current), 150);
});
document.addEventListener("keydown", event => {
    if (event.key === "/" && !/INPUT|TEXTAREA/.test(event.target.tagName)) {
        event.preventDefault();
        find("term").focus();
    }
});
addEventListener("hashchange", () => show(location.hash.slice(1)));

if (isComparison) {
    showComparison();
} else {
    chooseColours();
    showHead();
    showCapture();
}
makeTabs();
for (const legend of document.querySelectorAll(".estimates"))
    legend.hidden = !estimated.length;
if (data.n_tasks > tasks.length)
    find("more-tasks").textContent = `Of ${count(data.n_tasks)} these ${count(tasks.length)} lived longest.`;
show(location.hash.slice(1));
})();
