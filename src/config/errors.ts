/** Thrown for an unusable configuration; the message is one line that names file, field and rule. Exit code 2. */
export class ConfigError extends Error {
  override readonly name = 'ConfigError';
}
