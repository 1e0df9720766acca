/** Renders a response as XML, the default of the old scheme. A list repeats the element that its field names. */
export function toXml(rootName: string, value: object): string {
  return `<?xml version='1.0' encoding='UTF-8'?><${rootName}>${children(value)}</${rootName}>`;
}

function children(value: object): string {
  let text = '';
  for (const [name, item] of Object.entries(value)) {
    for (const single of Array.isArray(item) ? item : [item]) text += element(name, single);
  }
  return text;
}

function element(name: string, value: unknown): string {
  if (value === undefined || value === null) return '';
  if (typeof value === 'object') return `<${name}>${children(value)}</${name}>`;
  return `<${name}>${typeof value === 'string' ? escapeText(value) : JSON.stringify(value)}</${name}>`;
}

function escapeText(text: string): string {
  return (
    text
      .replace(/&/g, '&amp;')
      .replace(/</g, '&lt;')
      .replace(/>/g, '&gt;')
      .replace(/"/g, '&quot;')
      // Characters that XML 1.0 cannot contain at all.
      .replace(/[^\t\n\r\u{20}-\u{d7ff}\u{e000}-\u{fffd}\u{10000}-\u{10ffff}]/gu, '\u{fffd}')
  );
}
