// The one style sheet of a page. Colors are given once, for both themes.

export const STYLE = `
:root {
  color-scheme: light dark;
  --paper: light-dark(#fbfaf7, #15181b);
  --card: light-dark(#ffffff, #1d2125);
  --ink: light-dark(#1c2024, #e7e5e0);
  --soft: light-dark(#5a6069, #a3a9b0);
  --rule: light-dark(#dedad2, #343a40);
  --link: light-dark(#0b5f6b, #6cc5d1);
  --focus: light-dark(#0a66c2, #8ab8ff);
  --needed: light-dark(#1f7f74, #3aa698);
  --older: light-dark(#8cc4bb, #25605a);
  --garbage: light-dark(#c9bfb2, #6d655b);
  --overhead: light-dark(#e6e1d8, #3f4247);
  --frees: light-dark(#b98a2f, #d0a24c);
  --files: light-dark(#9aa7d8, #5766a8);
  --journal: light-dark(#c79ac4, #885a86);
  --age0: light-dark(#d96c06, #ff9a3d);
  --age1: light-dark(#efa64c, #d98b3c);
  --age2: light-dark(#f2cf95, #a2774b);
  --age3: light-dark(#b4cbd8, #48728a);
  --age4: light-dark(#7f9fb5, #36586c);
  --age5: light-dark(#4d6f87, #28414f);
  --good: light-dark(#1b6e3c, #6fd694);
  --good-back: light-dark(#e4f3e8, #183524);
  --bad: light-dark(#b3201b, #ff8f86);
  --bad-back: light-dark(#fde7e5, #46191a);
  --unknown-back: light-dark(#eeebe4, #2a2f34);
}
:root[data-theme=light] { color-scheme: light }
:root[data-theme=dark] { color-scheme: dark }
* { box-sizing: border-box }
body { margin: 0; padding: 0 1.25rem 3rem; background: var(--paper); color: var(--ink); font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", sans-serif }
header, main, footer { max-width: 66rem; margin: 0 auto }
header { display: grid; grid-template-columns: 1fr auto; gap: 0 1rem; padding-top: 1.5rem; align-items: center }
.brand { margin: 0; font-weight: 650; letter-spacing: .01em; display: flex; gap: .5rem; align-items: center }
.brand span { color: var(--soft); font-weight: 400 }
.tools { display: flex; gap: .5rem; flex-wrap: wrap; justify-content: flex-end }
button { font: inherit; font-size: .875rem; color: var(--ink); background: var(--card); border: 1px solid var(--rule); border-radius: .4rem; padding: .25rem .7rem; cursor: pointer }
button[aria-pressed=true] { border-color: var(--link); color: var(--link) }
h1 { grid-column: 1 / -1; font-size: 2rem; line-height: 1.2; margin: 1.6rem 0 .3rem; font-weight: 680; letter-spacing: -.01em }
.of { color: var(--soft); font-weight: 400; font-size: .75em }
.made { grid-column: 1 / -1; color: var(--soft); margin: 0 0 .9rem }
.health { grid-column: 1 / -1; justify-self: start; margin: 0 0 1.4rem; border-radius: 2rem; padding: .3rem .95rem; font-weight: 600; width: fit-content; background: var(--unknown-back) }
.health a { color: inherit; text-decoration: none }
.health.good { background: var(--good-back); color: var(--good) }
.health.bad { background: var(--bad-back); color: var(--bad) }
.answers { display: grid; grid-template-columns: repeat(auto-fit, minmax(14rem, 1fr)); gap: .8rem }
.answers a { display: block; background: var(--card); border: 1px solid var(--rule); border-radius: .6rem; padding: .9rem 1rem; color: inherit; text-decoration: none }
.answers a:hover { border-color: var(--link) }
.answers h2 { font-size: .95rem; margin: 0 0 .25rem; color: var(--link); font-weight: 650 }
.answers p { margin: 0; font-size: .925rem }
.answers .bad { border-color: var(--bad); background: var(--bad-back) }
.answers .bad p, .bad { color: var(--bad) }
section { margin-top: 2.8rem; border-top: 1px solid var(--rule); padding-top: .6rem; scroll-margin-top: 1rem }
section > h2 { font-size: 1.45rem; margin: .8rem 0 .8rem; letter-spacing: -.005em }
h3 { font-size: 1.08rem; margin: 2rem 0 .3rem }
h4 { font-size: 1rem; margin: 1.5rem 0 .35rem; overflow-wrap: anywhere; font-weight: 600 }
p { margin: .3rem 0 .7rem; max-width: 52rem }
code { font: .9em ui-monospace, "SF Mono", Menlo, Consolas, "Liberation Mono", monospace; background: var(--unknown-back); border-radius: .25rem; padding: .06em .3em }
svg { display: block }
.brand svg, .swatch { display: inline-block; vertical-align: -.1em }
.swatch { width: .8rem; height: .8rem; margin-right: .4rem }
.legend { font-size: .875rem; color: var(--soft); display: flex; flex-wrap: wrap; gap: .1rem .2rem; align-items: center; margin: .6rem 0 .4rem }
.legend .swatch:not(:first-child) { margin-left: .8rem }
.bar { width: 100%; height: 2.2rem; border-radius: .3rem; margin: .4rem 0 .9rem }
.figure { border-radius: .3rem; overflow-x: auto }
.chart { width: 100%; min-width: 40rem; height: auto; touch-action: pan-y }
.map { width: 100%; height: 4rem; border-radius: .3rem; background: var(--overhead) }
.packs { width: 100%; height: 7rem; border-radius: .3rem }
.pick { fill: var(--unknown-back) }
.axis { stroke: var(--soft); fill: none }
.rule { stroke: var(--rule); fill: none; stroke-dasharray: 3 4 }
.tick, .label, .cut { font-size: 13px; fill: var(--soft); text-anchor: end }
.label { text-anchor: middle }
.cut { text-anchor: start; fill: var(--ink); font-weight: 600 }
.cut[text-anchor=end] { text-anchor: end }
.label.now { fill: var(--ink); font-weight: 700 }
.break { stroke: var(--paper); stroke-width: 4; fill: none }
.needed, .added { fill: var(--needed) }
.older { fill: var(--older) } .garbage { fill: var(--garbage) } .overhead, .pack { fill: var(--overhead) } .frees { fill: var(--frees) }
.retired { fill: var(--garbage); opacity: .6 } .files { fill: var(--files) } .images { fill: var(--files); opacity: .6 } .journal { fill: var(--journal) } .quarantine { fill: var(--bad) }
.age0 { fill: var(--age0) } .age1 { fill: var(--age1) } .age2 { fill: var(--age2) } .age3 { fill: var(--age3) } .age4 { fill: var(--age4) } .age5 { fill: var(--age5) }
.picked { font-size: .9rem; background: var(--unknown-back); border-radius: .3rem; padding: .35rem .7rem; margin-top: .3rem; overflow-wrap: anywhere; max-width: none }
.said { font-size: .9rem; color: var(--soft); margin: .3rem 0 }
details { margin: .3rem 0 }
summary { cursor: pointer; color: var(--link); font-size: .9rem; width: fit-content; padding: .1rem .2rem }
.scroll { overflow-x: auto; max-height: 32rem; overflow-y: auto; border: 1px solid var(--rule); border-radius: .5rem; background: var(--card); margin: .4rem 0 .8rem }
table { border-collapse: collapse; width: 100%; font-size: .9rem }
caption { text-align: left; color: var(--soft); font-size: .8rem; padding: .45rem .8rem 0 }
th, td { text-align: left; padding: .3rem .8rem; border-top: 1px solid var(--rule); font-weight: 400; vertical-align: top; min-width: 4.5rem }
thead th { border-top: 0; font-weight: 600; font-size: .8rem; color: var(--soft); background: var(--card); position: sticky; top: 0 }
.n { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap }
bdi { overflow-wrap: anywhere }
td .bad, th .bad { white-space: nowrap }
tr.on > * { background: var(--unknown-back) }
td.n data { white-space: nowrap }
.tag { display: inline-block; border: 1px solid var(--rule); border-radius: 1rem; padding: 0 .55rem; font-size: .85em; margin: 0 .15rem .15rem 0; max-width: 20rem }
ul { padding-left: 1.2rem; max-width: 52rem } li { margin: .35rem 0 }
a:focus-visible, button:focus-visible, summary:focus-visible, [tabindex]:focus-visible { outline: 3px solid var(--focus); outline-offset: 2px }
main:focus { outline: none }
.skip { position: absolute; left: -99rem }
.skip:focus { left: 1rem; top: .6rem; background: var(--card); padding: .3rem .8rem; z-index: 2 }
footer { margin-top: 3rem; border-top: 1px solid var(--rule); color: var(--soft); font-size: .85rem; padding-top: .6rem }
@media (max-width: 40rem) { h1 { font-size: 1.5rem } .of { display: block } body { padding: 0 .8rem 2rem } }
@media (forced-colors: active) { svg { forced-color-adjust: none } }
@media print { .tools, .skip { display: none } .scroll { max-height: none; overflow: visible } }
`
