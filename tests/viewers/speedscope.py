"""speedscope, as it comes from npm (tests/viewers/run fetches it).

    viewer = speedscope.Viewer(browser.shared())
    viewer.open("out.trace")
    profiles = viewer.read()        # what its Export writes: https://www.speedscope.app/file-format-schema.json
"""

import json
import os
import pathlib

FOLDER = pathlib.Path(os.environ.get("PANOPTICON_VIEWERS", "")) / "speedscope/dist/release"


class Viewer:
    def __init__(self, page):
        self._page = page
        page.files["/speedscope/"] = FOLDER

    def open(self, trace):
        """Passes a file to its file input. One that it refuses raises ValueError."""
        self._page.go("/speedscope/index.html")
        self._page.run("window.alerts = []; window.alert = text => alerts.push(text);"
                       "await until(() => document.querySelector('input[type=file]'));")
        self._page.choose_file(trace)
        self._page.run("""
            window.button = label => Array.from(document.querySelectorAll('div')).findLast(
                each => each.innerText.endsWith(label) && each.innerText.length < label.length + 4);
            await until(() => alerts.length || button('Export'));
            if (alerts.length)
                throw new Error(alerts);
            """)

    def read(self):
        return json.loads(self._page.run("""
            const blobs = [], url = URL.createObjectURL;
            URL.createObjectURL = blob => { blobs.push(blob); return url.call(URL, blob); };
            button('Export').click();
            await until(() => blobs.length);
            return await blobs[0].text();
            """))
