/** Small text operations that must stay linear on a stranger's input. */

/** Without the slashes at its end. By index: `/\/+$/` costs the square of a long run of slashes. */
export function withoutTrailingSlashes(text: string): string {
  let end = text.length;
  while (end > 0 && text.charCodeAt(end - 1) === 0x2f) end -= 1;
  return text.slice(0, end);
}

/** Without characters that are invisible, turn the direction of text, or move a terminal's cursor. */
export function printable(text: string): string {
  return text.replace(/\s+/gu, ' ').replace(/\p{C}/gu, '').trim();
}
