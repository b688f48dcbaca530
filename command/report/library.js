// What the page uses of its libraries. `npm run bundle` makes bundle.js and bundle.css of this file.
import "tabulator-tables/dist/css/tabulator_simple.css";

export { default as flamegraph } from "d3-flame-graph";
export { select } from "d3-selection";
export { FilterModule, FormatModule, InteractionModule, ResizeColumnsModule, ResizeTableModule, SortModule, Tabulator }
    from "tabulator-tables";
