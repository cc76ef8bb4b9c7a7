"""Look and movement of the reading report."""

from __future__ import annotations

STYLE = """
:root{color-scheme:light dark;--text:#1c2126;--soft:#4a5056;--page:#fff;--around:#f4f5f7;--line:#d9dde2;
--strong:#aab2bb;--warn:#fdf0e6;--edge:#d55e00;--note:#8a3d00;--link:#005a8f;--curve:#0072b2}
@media screen and (prefers-color-scheme:dark){:root{--text:#e4e7ea;--soft:#b4bac1;--page:#1b1f24;--around:#121518;
--line:#3a4149;--strong:#717a84;--warn:#3a2615;--note:#ffb27a;--link:#7cc4f5;--curve:#56b4e9}}
*{box-sizing:border-box}
body{font:15px/1.5 system-ui,"Segoe UI",Roboto,"Liberation Sans",sans-serif;color:var(--text);
background:var(--around);margin:0}
main{max-width:1180px;margin:0 auto;padding:1.5rem 1.5rem 3rem;background:var(--page);min-height:100vh}
h1{font-size:1.6rem;line-height:1.25;margin:.2rem 0 .8rem}
h2{font-size:1.2rem;margin:1.8rem 0 .6rem;border-bottom:1px solid var(--line);padding-bottom:.2rem}
h3{font-size:1.05rem;margin:0 0 .5rem}
p{max-width:75ch;margin:.4rem 0;overflow-wrap:break-word}
a{color:var(--link)}
.warning{background:var(--warn);border-left:4px solid var(--edge);padding:.5rem .8rem;max-width:none}
.note{color:var(--note)}
.wide{overflow-x:auto}
table{border-collapse:collapse;font-size:.88rem;font-variant-numeric:tabular-nums}
th,td{text-align:left;padding:.28rem .7rem .28rem 0;border-bottom:1px solid var(--line);vertical-align:top}
th{font-weight:600;white-space:nowrap}
td{white-space:nowrap}
td.words{white-space:normal;min-width:18ch}
tr.strong td{font-weight:600;border-bottom:2px solid var(--strong)}
.run{margin:1.6rem 0;padding:1rem;border:1px solid var(--line);border-radius:6px}
.player{display:flex;gap:1.2rem;align-items:flex-start;flex-wrap:wrap}
.cine img{width:208px;height:208px;object-fit:contain;display:block;background:#000;border-radius:4px}
.cine div{display:flex;gap:.4rem;align-items:center;width:208px;margin-top:.3rem}
.cine input{flex:1;min-width:0}
.cine output{font-size:.8rem;min-width:3ch;text-align:right}
.curve{flex:1 1 280px;min-width:0;max-width:600px;color:var(--text)}
.curve text{font-size:13px;fill:var(--soft)}
.curve polyline{stroke:var(--curve)}
.switches{display:flex;flex-wrap:wrap;gap:.2rem 1rem;font-size:.88rem;margin:.7rem 0 .3rem}
.frames{display:grid;grid-template-columns:repeat(auto-fill,minmax(225px,1fr));gap:.7rem}
figure{margin:0}
figcaption{font-size:.8rem;color:var(--soft)}
.layers{position:relative}
.layers>img:first-child{width:100%;display:block;border-radius:4px}
.layers>.heat,.layers>svg{position:absolute;inset:0;width:100%;height:100%}
.layers rect{fill:none;stroke:#56b4e9;stroke-width:2.5;vector-effect:non-scaling-stroke}
.layers rect.below{stroke-width:1.5;stroke-dasharray:3 4}
.no-heat img.heat,.no-box svg.box{display:none}
footer{margin-top:2rem;font-size:.85rem;color:var(--soft);border-top:1px solid var(--line);padding-top:.6rem}
@media (max-width:600px){main{padding:1rem .8rem 2rem}.run{padding:.7rem}h1{font-size:1.35rem}
.curve text{font-size:15px}.frames{grid-template-columns:repeat(auto-fill,minmax(140px,1fr))}}
@media print{.switches,.cine div{display:none}.run{break-inside:avoid}main{padding:0}td{white-space:normal}}
""".strip()

SCRIPT = """
for (const player of document.querySelectorAll('.player')) {
  const pictures = JSON.parse(player.querySelector('script').textContent);
  const index = JSON.parse(player.dataset.index), last = Math.max(Number(player.dataset.last), 1);
  const image = player.querySelector('img'), slider = player.querySelector('input');
  const shown = player.querySelector('output'), button = player.querySelector('button');
  const cursor = player.querySelector('.cursor');
  const show = () => {
    const frame = index[slider.value];
    image.src = pictures[slider.value];
    shown.textContent = frame;
    if (cursor) {
      const x = Number(cursor.dataset.left) + Number(cursor.dataset.width) * frame / last;
      cursor.setAttribute('x1', x); cursor.setAttribute('x2', x);
    }
  };
  let timer = null;
  const stop = () => { clearInterval(timer); timer = null; button.textContent = 'play'; };
  button.addEventListener('click', () => {
    if (timer) { stop(); return; }
    button.textContent = 'stop';
    timer = setInterval(() => { slider.value = (Number(slider.value) + 1) % pictures.length; show(); }, 90);
  });
  slider.addEventListener('input', () => { if (timer) stop(); show(); });
  show();
}
for (const section of document.querySelectorAll('.run'))
  for (const name of ['heat', 'box']) {
    const box = section.querySelector('input.' + name);
    if (box) box.addEventListener('change', () => section.classList.toggle('no-' + name, !box.checked));
  }
""".strip()
