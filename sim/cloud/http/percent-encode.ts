/** Percent encoding of RFC 3986, which both signature schemes prescribe: `~` stays, `!'()*` are encoded. */
export function percentEncode(text: string): string {
  // A lone surrogate has no UTF-8 form, and encodeURIComponent would throw.
  return encodeURIComponent(text.toWellFormed()).replace(
    /[!'()*]/g,
    (character) => `%${character.charCodeAt(0).toString(16).toUpperCase()}`,
  );
}
