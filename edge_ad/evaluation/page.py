"""The style sheet of the report."""

STYLE = """
:root { --ink: #22282e; --faint: #66717c; --line: #e1e6ea; --good: #2b7a9b; --bad: #c8553d; --ground: #f6f7f8 }
* { box-sizing: border-box }
body { margin: 0; background: var(--ground); color: var(--ink); -webkit-text-size-adjust: 100%;
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif }
main { max-width: 1180px; margin: 0 auto; padding: 24px 20px 64px }
h1 { font-size: 1.7rem; line-height: 1.2; margin: 8px 0 4px; letter-spacing: -.01em }
h2 { font-size: 1.35rem; margin: 0 0 16px; letter-spacing: -.01em }
h3 { font-size: 1.05rem; margin: 36px 0 12px }
h2 small, h3 small { font-weight: 400; font-size: .9rem; color: var(--faint); margin-left: .6em }
header p { margin: 0 0 20px }
section { background: #fff; border: 1px solid var(--line); border-radius: 10px; padding: 24px; margin: 0 0 20px }
.faint, figcaption .faint { color: var(--faint) }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(170px, 1fr)); gap: 12px }
.tiles div { border: 1px solid var(--line); border-radius: 8px; padding: 12px 14px }
.tiles span, .tiles small { display: block; color: var(--faint); font-size: .85rem; line-height: 1.35 }
.tiles strong { font-size: 1.7rem; font-weight: 600; line-height: 1.3; font-variant-numeric: tabular-nums }
.tiles .bad strong, b.bad { color: var(--bad) }
b.fine { color: var(--good) }
.notes { margin: 16px 0 0; padding: 10px 14px 10px 32px; background: #fdf6e7; border-radius: 8px; font-size: .92rem }
.pictures { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(340px, 100%), 1fr)); gap: 18px }
.curves { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(400px, 100%), 1fr)); gap: 16px }
figure { margin: 0 }
img { display: block; width: 100%; height: auto; border-radius: 4px }
figcaption { font-size: .88rem; line-height: 1.4; margin-top: 6px; overflow-wrap: anywhere }
.wide { overflow-x: auto; -webkit-overflow-scrolling: touch }
table { border-collapse: collapse; font-size: .92rem; width: 100% }
th, td { text-align: left; padding: 7px 14px 7px 0; border-bottom: 1px solid var(--line); white-space: nowrap;
  vertical-align: top }
thead th { color: var(--faint); font-weight: 500 }
tbody th { font-weight: 500 }
.metrics td:last-child { white-space: normal; width: 100% }
.n { text-align: right; font-variant-numeric: tabular-nums }
.overview th, .overview td { padding-right: 11px; font-size: .88rem }
.overview thead th { white-space: normal; vertical-align: bottom }
a { color: var(--good) }
details { margin-top: 28px }
section > details:only-child { margin: 0 }
summary { cursor: pointer; font-weight: 600 }
dl { display: grid; grid-template-columns: max-content 1fr; gap: 4px 20px; font-size: .9rem; margin: 14px 0 0 }
dt { color: var(--faint) }
dd { margin: 0; overflow-wrap: anywhere }
@media (max-width: 600px) {
  main { padding: 12px 10px 40px } section { padding: 16px 14px }
  .tiles { grid-template-columns: 1fr 1fr } .tiles strong { font-size: 1.4rem }
  h2 small, h3 small { display: block; margin: 2px 0 0 } dl { grid-template-columns: 1fr; gap: 0 }
  dd { margin-bottom: 8px }
}
@media print { body { background: #fff } section { border: 0; padding: 0; break-inside: auto }
  figure { break-inside: avoid } }
"""
