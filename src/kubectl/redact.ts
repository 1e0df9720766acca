import * as z from 'zod';

/** Replaces a secret. */
export const REDACTED = '<redacted>';

const SECRET_KEY =
  /secret|passw|token|access_?key|credential|private_?key|authori[sz]ation|api_?key|client-key|\bak\b|\bsk\b/i;
/** Keys that are named like a secret but are none. */
const HARMLESS_KEY =
  /^(clientToken|secretName|secretRef|secretKeyRef|secrets?|imagePullSecrets|certificates|tokenExpirationSeconds|automountServiceAccountToken|credentialSecret|projected|oidcTokenFile|serviceAccountToken)$/;

const SECRET_TEXT: readonly RegExp[] = [
  /-----BEGIN [A-Z ]*PRIVATE KEY-----[\s\S]*?(-----END [A-Z ]*PRIVATE KEY-----|$)/g,
  // JSON web tokens, such as those of service accounts.
  /\beyJ[\w-]{8,}\.[\w-]{8,}(\.[\w-]*)?/g,
  /\b(Bearer|Basic)\s+[\w.~+/=-]{8,}/gi,
  // Access keys of Alibaba Cloud, permanent and temporary.
  /\b(LTAI|STS\.)[A-Za-z0-9]{8,}/g,
  // User and password in a URL.
  /(?<=:\/\/)[^\s/@:]+:[^\s/@]+(?=@)/g,
];

/** `key: value`, `"key": "value"` and `key=value` inside a text, one per line or in JSON. */
const KEY_VALUE = /(["']?)([\w.-]+)\1(\s*[:=]\s*)("(?:[^"\\\n]|\\.)*"|'[^'\n]*'|[^\s,;{}[\]"'][^\s,;}\]]*)/g;

/** The text without what looks like a secret, by its key or by the form of its value. */
export function redactText(text: string): string {
  const shaped = SECRET_TEXT.reduce((safe, pattern) => safe.replace(pattern, REDACTED), text);
  return shaped.replace(KEY_VALUE, (all, quote: string, key: string, between: string, value: string) => {
    const name = `${quote}${key}${quote}${between}`;
    if (!isSecretKey(key)) return value.startsWith('"') ? name + redactQuoted(value) : all;
    if (/^(true|false|null|\d+)$/.test(value)) return all;
    return name + (value.startsWith('"') ? `"${REDACTED}"` : REDACTED);
  });
}

/** A quoted text may itself hold JSON. */
function redactQuoted(quoted: string): string {
  try {
    const inner = z.string().parse(JSON.parse(quoted));
    const safe = redactText(inner);
    return safe === inner ? quoted : JSON.stringify(safe);
  } catch {
    // The text is not JSON.
    return quoted;
  }
}

/** The same value without secrets, at any depth; also those in texts that hold JSON or YAML. */
export function redact(value: unknown): unknown {
  if (typeof value === 'string') return redactText(value);
  if (Array.isArray(value)) return value.map(redact);
  if (typeof value !== 'object' || value === null) return value;
  // A variable of an environment has its name in one field and its value in another.
  const isSecretVariable = 'name' in value && typeof value.name === 'string' && isSecretKey(value.name);
  return Object.fromEntries(
    Object.entries(value).map(([key, inner]: [string, unknown]) => {
      const isSecret = isSecretKey(key) && inner !== null && typeof inner !== 'boolean' && typeof inner !== 'number';
      const isItsValue = isSecretVariable && key === 'value';
      return [key, isSecret || isItsValue ? REDACTED : redact(inner)];
    }),
  );
}

function isSecretKey(key: string): boolean {
  return SECRET_KEY.test(key) && !HARMLESS_KEY.test(key);
}
