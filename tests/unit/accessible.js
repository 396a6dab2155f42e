const wrong = [];
const seen = (one) => one.checkVisibility({visibilityProperty: true, opacityProperty: true});
const where = (one) => `<${one.tagName.toLowerCase()}${one.id ? '#' + one.id : ''}> ${one.textContent.trim().slice(0, 40)}`;
const nameOf = (one) => (one.getAttribute('aria-label')
  || (one.getAttribute('aria-labelledby') || '').split(' ').map((id) => document.getElementById(id)?.textContent).join(' ').trim()
  || [...(one.labels || [])].map((label) => label.textContent).join(' ').trim()
  || (one.tagName === 'IMG' ? one.alt : one.textContent.trim() || one.querySelector('img')?.alt) || '');
if (!document.documentElement.lang) wrong.push('no language');
if (!document.title.trim()) wrong.push('no title');
for (const name of ['main', 'header', 'nav', 'footer'])
  if (document.querySelectorAll(`body > ${name}, body > header > ${name}`).length !== 1) wrong.push(`not one landmark ${name}`);
const ids = [...document.querySelectorAll('[id]')].map((one) => one.id);
for (const id of new Set(ids.filter((id, place) => ids.indexOf(id) !== place))) wrong.push(`id twice: ${id}`);
let last = 0;
for (const one of document.querySelectorAll('h1, h2, h3, h4, h5, h6')) {
  const level = +one.tagName[1];
  if (level > last + 1) wrong.push(`heading skips a level: ${where(one)}`);
  if (!one.textContent.trim()) wrong.push('empty heading');
  last = level;
}
if (document.querySelectorAll('h1').length !== 1) wrong.push('not one h1');
for (const one of document.querySelectorAll('a[href], button, select, input, textarea, summary, [role=region], section[aria-labelledby]'))
  if (!nameOf(one)) wrong.push(`no name: ${where(one)}`);
for (const one of document.querySelectorAll('img')) if (!one.hasAttribute('alt') || !one.alt.trim()) wrong.push(`no words for a picture: ${where(one)}`);
for (const one of document.querySelectorAll('svg')) if (one.getAttribute('aria-hidden') !== 'true' && !(one.getAttribute('role') === 'img' && one.getAttribute('aria-label'))) wrong.push('no words for a drawing');
for (const one of document.querySelectorAll('[tabindex]')) if (one.tabIndex > 0) wrong.push(`order of Tab is forced: ${where(one)}`);
for (const one of document.querySelectorAll('table')) {
  if (!one.caption?.textContent.trim()) wrong.push(`table without caption: ${where(one)}`);
  for (const head of one.querySelectorAll('th')) if (!['col', 'row'].includes(head.scope)) wrong.push(`header without scope: ${where(head)}`);
}
for (const one of document.querySelectorAll('a[href^="#"]')) {
  const id = decodeURIComponent(one.getAttribute('href').slice(1));
  if (!id.includes('=') && id && !document.getElementById(id)) wrong.push(`link to nowhere: #${id}`);
}
for (const one of document.querySelectorAll('*')) {
  const box = getComputedStyle(one);
  if (['auto', 'scroll'].includes(box.overflowX) && one.scrollWidth > one.clientWidth + 1 && seen(one) && one.tabIndex < 0)
    wrong.push(`scrolls, but not by keyboard: ${where(one)}`);
}
const parse = (text) => { const all = text.match(/[\d.]+/g).map(Number); return all.length > 3 ? all : [...all, 1]; };
const over = (above, below) => above.slice(0, 3).map((value, place) => value * above[3] + below[place] * (1 - above[3])).concat(1);
const back = (one) => { const own = parse(getComputedStyle(one).backgroundColor); return own[3] >= 1 ? own : over(own, one.parentElement ? back(one.parentElement) : [255, 255, 255, 1]); };
const light = (colour) => { const [r, g, b] = colour.slice(0, 3).map((value) => { value /= 255; return value <= 0.03928 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4; }); return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
const contrast = (one, other) => { const [a, b] = [light(one), light(other)].sort((x, y) => y - x); return (a + 0.05) / (b + 0.05); };
const told = new Set();
for (const one of document.querySelectorAll('body *')) {
  const own = [...one.childNodes].some((child) => child.nodeType === 3 && child.textContent.trim());
  if (!own || !seen(one) || ['SCRIPT', 'STYLE', 'NOSCRIPT', 'OPTION'].includes(one.tagName)) continue;
  const style = getComputedStyle(one), ground = back(one.closest('svg')?.parentElement || one);
  const ink = over(parse(one.closest('svg') ? style.fill : style.color), ground);
  const size = parseFloat(style.fontSize), large = size >= 24 || (size >= 18.66 && +style.fontWeight >= 700);
  const found = contrast(ink, ground);
  const key = `${style.color} ${style.fill} ${ground}`;
  if (found < (large ? 3 : 4.5) && !told.has(key)) { told.add(key); wrong.push(`contrast ${found.toFixed(2)}: ${where(one)}`); }
}
return wrong;
