"""Look and movement of the reading report."""

from __future__ import annotations

STYLE = """
:root{color-scheme:light}
body{font:15px/1.5 system-ui,"Segoe UI",Roboto,"Liberation Sans",sans-serif;color:#1c2126;background:#f4f5f7;margin:0}
main{max-width:1080px;margin:0 auto;padding:1.5rem 1.5rem 3rem;background:#fff}
h1{font-size:1.6rem;margin:.2rem 0 .8rem}
h2{font-size:1.2rem;margin:1.8rem 0 .6rem;border-bottom:1px solid #d9dde2;padding-bottom:.2rem}
h3{font-size:1.05rem;margin:0 0 .5rem}
p{max-width:75ch;margin:.4rem 0}
.warning{background:#fdf0e6;border-left:4px solid #d55e00;padding:.5rem .8rem;max-width:none}
.note{color:#8a3d00}
.wide{overflow-x:auto}
table{border-collapse:collapse;font-size:.88rem;font-variant-numeric:tabular-nums}
th,td{text-align:left;padding:.28rem .7rem .28rem 0;border-bottom:1px solid #e6e9ed;vertical-align:top}
th{font-weight:600;white-space:nowrap}
tr.strong td{font-weight:600;border-bottom:2px solid #aab2bb}
.run{margin:1.6rem 0;padding:1rem;border:1px solid #d9dde2;border-radius:6px}
.player{display:flex;gap:1.2rem;align-items:flex-start;flex-wrap:wrap}
.cine img{width:208px;height:208px;display:block;background:#000;border-radius:4px}
.cine div{display:flex;gap:.4rem;align-items:center;width:208px;margin-top:.3rem}
.cine input{flex:1;min-width:0}
.cine output{font-size:.8rem;min-width:3ch;text-align:right}
.curve{flex:1;min-width:320px;max-width:760px}
.curve text{font-size:11px;fill:#444}
.switches{display:flex;gap:1rem;font-size:.88rem;margin:.7rem 0 .3rem}
.frames{display:grid;grid-template-columns:repeat(auto-fill,minmax(225px,1fr));gap:.7rem}
figure{margin:0}
figcaption{font-size:.8rem;color:#444}
.layers{position:relative}
.layers>img:first-child{width:100%;display:block;border-radius:4px}
.layers>.heat,.layers>svg{position:absolute;inset:0;width:100%;height:100%}
.layers rect{fill:none;stroke:#56b4e9;stroke-width:2.5;vector-effect:non-scaling-stroke}
.layers rect.below{stroke-width:1.5;stroke-dasharray:3 4}
.no-heat img.heat,.no-box svg.box{display:none}
footer{margin-top:2rem;font-size:.85rem;color:#555;border-top:1px solid #d9dde2;padding-top:.6rem}
@media print{.switches,.cine div{display:none}.run{break-inside:avoid}}
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
