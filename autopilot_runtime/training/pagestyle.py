"""How the report looks, on paper-white and on black, wide and narrow; and the keys it knows where scripts run."""

from __future__ import annotations

CSS = """
:root{color-scheme:light dark;--paper:#fff;--card:#f6f8fa;--ink:#1f2328;--soft:#57606a;--edge:#d0d7de;--link:#0969da;
--good:#1a7f37;--bad:#cf222e;--warn:#9a6700;--goodbg:#dafbe1;--badbg:#ffebe9;--warnbg:#fff8c5;--mark:#ddf4ff}
@media (prefers-color-scheme:dark){:root{--paper:#0d1117;--card:#161b22;--ink:#e6edf3;--soft:#9aa4af;--edge:#30363d;
--link:#58a6ff;--good:#3fb950;--bad:#f85149;--warn:#d29922;--goodbg:#12261e;--badbg:#2d1618;--warnbg:#272115;
--mark:#121d2f}}
*{box-sizing:border-box}html{scroll-padding-top:1rem}
body{margin:0 auto;max-width:1040px;padding:1.5rem 1.25rem 4rem;background:var(--paper);color:var(--ink);
font:15px/1.5 ui-sans-serif,system-ui,'Segoe UI',Helvetica,Arial,sans-serif;overflow-wrap:anywhere}
h1{font-size:1.6rem;margin:0 0 .25rem}h2{font-size:1.15rem;margin:2.5rem 0 .75rem}h3{font-size:1rem;margin:0}
a{color:var(--link);text-decoration:none}a:hover{text-decoration:underline}
:focus-visible{outline:2px solid var(--link);outline-offset:2px;border-radius:4px}
p{margin:.4rem 0}.soft{color:var(--soft)}.mono,pre{font-family:ui-monospace,SFMono-Regular,Menlo,Consolas,monospace}
nav{display:flex;flex-wrap:wrap;gap:.25rem 1rem;margin:.75rem 0;font-size:.9rem}
.tiles{display:flex;flex-wrap:wrap;gap:.75rem;margin:1rem 0}
.tile{flex:1 1 auto;white-space:nowrap;background:var(--card);border:1px solid var(--edge);border-radius:8px;
padding:.6rem .8rem}
.tile b{display:block;font-size:1.15rem}.tile span{color:var(--soft);font-size:.82rem}
.chip{display:inline-block;border-radius:999px;padding:0 .55rem;font-size:.8rem;line-height:1.5rem;white-space:nowrap;
border:1px solid var(--edge);background:var(--card);color:var(--soft)}
.chip.accept,.chip.completed{background:var(--goodbg);color:var(--good);border-color:transparent}
.chip.rollback,.chip.stop,.chip.failed,.chip.crash{background:var(--badbg);color:var(--bad);border-color:transparent}
.chip.noise{background:var(--warnbg);color:var(--warn);border-color:transparent}
figure{margin:0;border:1px solid var(--edge);border-radius:8px;padding:.5rem;overflow:hidden}
figure svg{display:block;width:100%;height:auto}.narrow{display:none!important}
.legend{display:flex;flex-wrap:wrap;gap:.2rem 1.1rem;font-size:.82rem;color:var(--soft);padding:.4rem .3rem 0}
.legend span{display:inline-flex;align-items:center;gap:.35rem}
.legend svg{width:18px;height:18px;display:inline-block}
.curves{display:grid;grid-template-columns:repeat(auto-fit,minmax(320px,1fr));gap:.75rem}
.scroll{overflow-x:auto}table{border-collapse:collapse;width:100%;font-size:.86rem}
th,td{text-align:left;padding:.3rem .6rem;border-bottom:1px solid var(--edge);vertical-align:top;overflow-wrap:normal}
th{color:var(--soft);font-weight:600;white-space:nowrap}td.n,th.n{text-align:right;white-space:nowrap;
font-variant-numeric:tabular-nums}td.wide{min-width:15rem;overflow-wrap:anywhere}
.up{color:var(--good)}.down{color:var(--bad)}
details{margin:.5rem 0}summary{cursor:pointer;color:var(--link);font-size:.9rem;width:fit-content}
article{border:1px solid var(--edge);border-left:4px solid var(--edge);border-radius:8px;padding:.75rem 1rem;
margin:.75rem 0;scroll-margin-top:.75rem}article.accept{border-left-color:var(--good)}
article.rollback,article.stop,article.crash{border-left-color:var(--bad)}article:target{background:var(--mark)}
article header{display:flex;flex-wrap:wrap;gap:.3rem .7rem;align-items:baseline}
pre.diff{margin:.4rem 0;padding:.5rem 0;background:var(--card);border:1px solid var(--edge);border-radius:6px;
font-size:.8rem;line-height:1.45;overflow-x:auto;overflow-wrap:normal}
pre.diff span{display:block;padding:0 .75rem;min-width:max-content}
pre.diff .add{background:var(--goodbg)}pre.diff .del{background:var(--badbg)}pre.diff .at{color:var(--soft)}
pre.diff .file{font-weight:600}
ul.gates,ul.plain{list-style:none;padding:0;margin:.5rem 0;font-size:.9rem}ul.gates li{padding:.1rem 0}
.tree,.tree ul{list-style:none;margin:0;padding:0}.tree ul{padding-left:1.4rem}
.tree li{position:relative;padding:.12rem 0 .12rem 1.3rem;border-left:2px solid var(--edge)}
.tree li:last-child{border-left-color:transparent}
.tree li::before{content:'';position:absolute;left:-2px;top:0;width:14px;height:.95rem;
border-left:2px solid var(--edge);border-bottom:2px solid var(--edge);border-bottom-left-radius:6px}
.tree li.trunk{border-left-color:var(--link)}.tree li.trunk::before{border-color:var(--link);border-radius:0}
.tree li.root::before{display:none}.tree .twigs{font-size:.86rem;color:var(--soft)}
.tree .twigs a{margin-right:.15rem}
footer{margin-top:3rem;color:var(--soft);font-size:.85rem}
@media (max-width:640px){.stack thead{display:none}.stack table,.stack tbody{display:block}
.stack tr{display:flex;flex-wrap:wrap;gap:.1rem .7rem;border-bottom:1px solid var(--edge);padding:.4rem 0}
.stack td{border:0;padding:0}.stack td:empty{display:none}.stack td.wide{flex-basis:100%}
body{padding:1rem .8rem 3rem;font-size:14px}.wide-only{display:none!important}
.narrow{display:block!important}.curves{grid-template-columns:1fr}figure{padding:.25rem}article{padding:.6rem .7rem}}
@media print{nav,.keys{display:none}article{break-inside:avoid}}
"""

# j and k go from candidate to candidate, Enter opens what is folded: a help, nothing needs it.
SCRIPT = (
    "document.addEventListener('keydown',function(e){if(e.ctrlKey||e.metaKey||e.altKey)return;"
    "var a=[].slice.call(document.querySelectorAll('article')),t=document.querySelector('article:target'),"
    "i=a.indexOf(t),k=e.key;if(k==='j'||k==='k'){i=k==='j'?Math.min(i+1,a.length-1):Math.max(i-1,0);"
    "if(a[i]){location.hash=a[i].id;e.preventDefault()}}"
    "else if(k==='Enter'&&t&&document.activeElement===document.body){"
    "[].forEach.call(t.querySelectorAll('details'),function(d){d.open=!d.open})}})"
)
