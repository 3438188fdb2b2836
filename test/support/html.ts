/** The forms of an HTML page, as far as sign-in pages need it: inputs, buttons, and a refresh in the head. */

export interface Button {
  readonly name: string | undefined;
  readonly value: string;
  readonly text: string;
}

export interface Form {
  /** As written: may be relative or empty. */
  readonly action: string;
  readonly method: 'GET' | 'POST';
  /** What is sent whichever button is pressed: hidden inputs, prefilled and ticked ones. */
  readonly fields: ReadonlyMap<string, string>;
  readonly buttons: readonly Button[];
}

type Attributes = ReadonlyMap<string, string>;

export function parseForms(html: string): Form[] {
  return [...html.matchAll(/<form\b([^>]*)>(.*?)<\/form>/gis)].map(([, head = '', body = '']) => {
    const form = parseAttributes(head);
    const inputs = [...body.matchAll(/<input\b([^>]*)>/gi)].map(([, text = '']) => parseAttributes(text));
    return {
      action: form.get('action') ?? '',
      method: form.get('method')?.toUpperCase() === 'POST' ? 'POST' : 'GET',
      fields: new Map(inputs.filter(isSent).map((input) => [input.get('name') ?? '', sentValue(input)])),
      buttons: [
        ...inputs.filter((input) => input.get('type') === 'submit').map(inputButton),
        ...buttonsIn(body),
      ],
    };
  });
}

/** Where `<meta http-equiv="refresh">` leads, if the page has one. */
export function parseRefresh(html: string): string | undefined {
  for (const [, text = ''] of html.matchAll(/<meta\b([^>]*)>/gi)) {
    const meta = parseAttributes(text);
    if (meta.get('http-equiv')?.toLowerCase() !== 'refresh') continue;
    return /url\s*=\s*['"]?([^'"]*)/i.exec(meta.get('content') ?? '')?.[1];
  }
  return undefined;
}

/** What a person reads on the page: tags gone, entities resolved, white space folded. */
export function textOf(html: string): string {
  const visible = html.replace(/<(style|script|head)\b.*?<\/\1>/gis, ' ').replace(/<[^>]*>/g, ' ');
  return decodeEntities(visible).replace(/\s+/g, ' ').trim();
}

function isSent(input: Attributes): boolean {
  const type = input.get('type')?.toLowerCase() ?? 'text';
  if (!input.get('name') || input.has('disabled')) return false;
  if (type === 'checkbox' || type === 'radio') return input.has('checked');
  return !['submit', 'button', 'reset', 'image', 'file'].includes(type);
}

function sentValue(input: Attributes): string {
  return input.get('value') ?? (input.get('type') === 'checkbox' ? 'on' : '');
}

function inputButton(input: Attributes): Button {
  return { name: input.get('name'), value: input.get('value') ?? '', text: input.get('value') ?? 'Submit' };
}

function buttonsIn(body: string): Button[] {
  return [...body.matchAll(/<button\b([^>]*)>(.*?)<\/button>/gis)]
    .map(([, head = '', text = '']) => ({ attributes: parseAttributes(head), text: textOf(text) }))
    .filter(({ attributes }) => (attributes.get('type') ?? 'submit') === 'submit')
    .map(({ attributes, text }) => ({
      name: attributes.get('name'),
      value: attributes.get('value') ?? '',
      text,
    }));
}

function parseAttributes(text: string): Attributes {
  const found = text.matchAll(/([^\s=/"'<>]+)(?:\s*=\s*(?:"([^"]*)"|'([^']*)'|([^\s"'>]+)))?/g);
  return new Map(
    [...found].map(([, name = '', double, single, bare]) => [
      name.toLowerCase(),
      decodeEntities(double ?? single ?? bare ?? ''),
    ]),
  );
}

const NAMED: Readonly<Record<string, string>> = {
  amp: '&',
  lt: '<',
  gt: '>',
  quot: '"',
  apos: "'",
  nbsp: ' ',
};

function decodeEntities(text: string): string {
  return text.replace(
    /&(?:#x([0-9a-f]+)|#(\d+)|(\w+));/gi,
    (whole, hex?: string, decimal?: string, name?: string) => {
      if (hex !== undefined) return String.fromCodePoint(Number.parseInt(hex, 16));
      if (decimal !== undefined) return String.fromCodePoint(Number(decimal));
      return NAMED[name?.toLowerCase() ?? ''] ?? whole;
    },
  );
}
