"""How a report looks: one style sheet, on a phone and on a desk, by day and by night."""

STYLE = """
:root {
  color-scheme: light dark;
  --paper: #fff; --ink: #1c2127; --soft: #59636e; --grid: #dfe3e8; --band: #f4f6f8;
  --line-0: #0b62b8; --line-1: #b3510b; --line-2: #16764a; --line-3: #8a3a9b; --line-4: #7a6200; --line-5: #b3254f;
}
@media (prefers-color-scheme: dark) {
  :root {
    --paper: #14181d; --ink: #e4e8ec; --soft: #a3adb8; --grid: #333b44; --band: #1c2229;
    --line-0: #6cb2ff; --line-1: #ff9d57; --line-2: #5fd09a; --line-3: #d99be6; --line-4: #e0c34a; --line-5: #ff8aa8;
  }
}
* { box-sizing: border-box; }
body {
  margin: 0 auto; max-width: 75rem; padding: 1rem; background: var(--paper); color: var(--ink);
  font: 1rem/1.5 system-ui, sans-serif; overflow-wrap: anywhere;
}
h1 { font-size: 1.6rem; line-height: 1.2; margin: .5rem 0; }
h2 { font-size: 1.2rem; margin: 2.25rem 0 .5rem; }
h3 { font-size: 1rem; margin: 0 0 .25rem; }
p { margin: .25rem 0 .75rem; max-width: 70ch; }
.note, figcaption, caption { color: var(--soft); font-size: .875rem; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .125rem 1rem; margin: .75rem 0; }
dt { color: var(--soft); }
dd { margin: 0; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-size: .875rem; font-variant-numeric: tabular-nums; overflow-wrap: normal; }
th, td { padding: .3rem .75rem .3rem 0; text-align: right; vertical-align: top; border-bottom: 1px solid var(--grid); }
th { font-weight: 600; }
td { white-space: nowrap; }
thead th { color: var(--soft); vertical-align: bottom; }
.label { text-align: left; }
.label:nth-child(2) { white-space: normal; }
@media (max-width: 40rem) { th, td { padding-right: .5rem; font-size: .8125rem; } }
tbody tr:hover { background: var(--band); }
.figures { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 28rem), 1fr)); gap: 2rem; }
figure { margin: 0; min-width: 0; }
figure svg { display: block; width: 100%; max-width: 34rem; height: auto; font-family: system-ui, sans-serif; }
summary { cursor: pointer; padding: .5rem 0; }
"""
