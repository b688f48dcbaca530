"""The Performance panel of Chromium's DevTools.

    viewer = devtools.Viewer(browser.shared())
    viewer.open("out.trace")
    for pid, tid, process, thread, slices in viewer.read():         # the names of process and thread
        for begin, duration, name, cat, args, parent in slices:     # microseconds; parent: its index in slices, or None
"""


PAGE = "devtools://devtools/bundled/devtools_app.html?panel=timeline"


class Viewer:
    def __init__(self, page):
        self._page = page

    def open(self, trace):
        """Passes a trace file to the panel's file input. One that the panel refuses raises ValueError."""
        self._page.ensure_at(PAGE)
        self._page.run("""
            const timeline = await import('./panels/timeline/timeline.js');
            await until(() => {
                try {
                    window.panel = timeline.TimelinePanel.TimelinePanel.instance();
                    return document.querySelector('input[type=file]') && panel.state == 'Idle';
                } catch {               // there is no panel yet
                    return false;
                }
            });
            window.opened = panel.once('RecordingCompleted');
            """)
        self._page.choose_file(trace)
        self._page.run("""
            const { errorText, traceIndex } = await opened;
            if (errorText)
                throw new Error(errorText);
            window.trace = panel.model.parsedTrace(traceIndex).data;
            panel.model.deleteTraceByIndex(traceIndex);     // or it keeps all that it ever opened
            """)

    def read(self):
        return self._page.run("""
            const rows = [];
            for (const [pid, process] of trace.Renderer.processes) {
                const name = trace.Meta.processNames.get(pid);
                for (const [tid, thread] of process.threads) {
                    const slices = [];
                    const add = (node, parent) => {
                        const { ts, dur, name, cat, args = {} } = node.entry;
                        const place = slices.push([ts, dur, name, cat, args, parent]) - 1;
                        for (const child of node.children)
                            add(child, place);
                    };
                    for (const root of thread.tree ? thread.tree.roots : [])
                        add(root, null);
                    if (slices.length != thread.entries.length)
                        throw new Error(`${slices.length} of ${thread.entries.length} entries are in the tree`);
                    rows.push([pid, tid, name && name.args.name, thread.name, slices]);
                }
            }
            return rows;
            """)
