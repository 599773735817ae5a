"""The gallery's style sheet: light and dark, wide and narrow, on paper."""

PAGE_STYLE = """
:root { color-scheme: light dark; --page: #f6f7f9; --card: #ffffff; --ink: #1c2129; --soft: #5a6472;
  --line: #d9dde3; --link: #1f63c4; --good: #12733a; --good-fill: #e8f6ec; --bad: #b3261e; --bad-fill: #fdecea; }
@media (prefers-color-scheme: dark) {
  :root { --page: #0f1115; --card: #15181d; --ink: #e8ebf0; --soft: #a3adba; --line: #323842;
    --link: #74a9f7; --good: #5fd08c; --good-fill: #16301f; --bad: #ff8a80; --bad-fill: #3b1b19; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--ink); font: 16px/1.55 system-ui, "Segoe UI",
  "Liberation Sans", "DejaVu Sans", sans-serif; }
main { max-width: 1480px; margin: 0 auto; padding: 24px; }
h1 { margin: 8px 0; font-size: 28px; overflow-wrap: anywhere; }
h2 { margin: 0 0 10px; font-size: 21px; overflow-wrap: anywhere; }
a { color: var(--link); }
code { font-family: ui-monospace, "DejaVu Sans Mono", Menlo, Consolas, monospace; font-size: 0.86em; }
.lead { max-width: 80ch; font-size: 17px; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-size: 14px; background: var(--card); }
th, td { padding: 5px 12px; border-bottom: 1px solid var(--line); text-align: left; overflow-wrap: break-word; }
th { color: var(--soft); font-weight: 600; white-space: nowrap; }
.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
.stage-link { white-space: nowrap; }
section { margin: 28px 0; padding: 22px; background: var(--card); border: 1px solid var(--line); border-radius: 10px; }
.stage { display: grid; grid-template-columns: minmax(300px, 400px) minmax(0, 1fr); gap: 28px; align-items: start; }
.stage:not(:has(figure)) { display: block; max-width: 90ch; }
.words { position: sticky; top: 16px; max-height: calc(100vh - 32px); overflow-y: auto; }
.words table { font-size: 12px; }
.words td, .words th { padding: 3px 6px; }
figure { margin: 0; overflow-x: auto; }
figure svg { display: block; margin: 0 auto; }
.proof { margin: 14px 0; padding: 10px 14px; border-left: 5px solid var(--line); border-radius: 4px; }
.proof p { margin: 2px 0 6px; }
.equal { border-color: var(--good); background: var(--good-fill); }
.equal strong { color: var(--good); }
.wrong { border-color: var(--bad); background: var(--bad-fill); }
.wrong strong { color: var(--bad); }
.change, .tools, .first { color: var(--soft); }
details { margin: 6px 0; }
summary { cursor: pointer; }
ol { padding-left: 28px; margin: 6px 0; }
.files a { display: inline-block; margin-right: 14px; }
.slowest td { font-weight: 700; color: var(--bad); }
meter { width: 160px; height: 12px; vertical-align: middle; margin-right: 8px; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: 4px 18px; margin: 0; }
dt { font-weight: 600; overflow-wrap: anywhere; }
dd { margin: 0; }
.hash code { overflow-wrap: anywhere; }
@media (max-width: 900px) { .stage { display: block; } .words { position: static; max-height: none; }
  dl { display: block; } dd { margin-bottom: 8px; } main { padding: 10px; } }
@media print { .words { position: static; max-height: none; overflow: visible; } .stage { display: block; } }
"""
