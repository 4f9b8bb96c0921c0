// The worker of the example `markdown`: a little of Markdown, as HTML. With a package such as `marked` it is one line.
const { serve } = require('hirelings-worker');

const escape = (text) => text.replace(/[&<>]/g, (char) => ({ '&': '&amp;', '<': '&lt;', '>': '&gt;' })[char]);
const inline = (text) =>
  [[/`([^`]+)`/g, 'code'], [/\*\*(.+?)\*\*/g, 'b'], [/\*(.+?)\*/g, 'i']].reduce(
    (html, [mark, tag]) => html.replace(mark, `<${tag}>$1</${tag}>`),
    escape(text),
  );

serve(({ text }) =>
  text.split(/\n{2,}/).map((block) => {
    const [, marks, title] = /^(#{1,6}) +(.*)$/.exec(block) ?? [];
    if (title) return `<h${marks.length}>${inline(title)}</h${marks.length}>`;
    if (!block.startsWith('- ')) return `<p>${inline(block)}</p>`;
    return `<ul>${block.split('\n').map((item) => `<li>${inline(item.slice(2))}</li>`).join('')}</ul>`;
  }).join('\n'),
);
