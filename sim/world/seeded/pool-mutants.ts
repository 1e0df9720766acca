import type { Mutant } from './mutant.ts';

/** Mistakes with the ENIs that the pods of a node share. */
export const POOL_MUTANTS: readonly Mutant[] = [
  {
    name: 'an address is free before the node has said that the sandbox of its pod is gone',
    file: 'src/allocation/pool/release.ts',
    from: "if (podUID !== '' && !isGivenUp && !isGone(podUID)) {",
    to: "if (podUID === 'nobody') {",
  },
  {
    name: 'an address that was freed does not rest',
    file: 'src/allocation/pool/plan-pool.ts',
    from: 'const freedMs = (ip: string) => (isFreed(ip) ? nowMs : view.freedMs(ip));',
    to: 'const freedMs = () => undefined;',
  },
  {
    name: 'addresses are given up whoever has them',
    file: 'src/allocation/pool/shrink.ts',
    from: '.filter(isIdle)\n      // A primary',
    to: '// A primary',
  },
  {
    name: 'the demand counts each pod twice',
    file: 'src/allocation/pool/plan-pool.ts',
    from: 'const unserved = handOuts.unserved.length;',
    to: 'const unserved = 2 * handOuts.unserved.length;',
  },
  {
    name: 'a pool is not looked at when its node says that sandboxes are gone',
    file: 'src/controllers/pool/watches.ts',
    from: 'watch(nodeRuntimes, { added: itself, changed: (_, runtime) => itself(runtime), removed: itself }),',
    to: '',
  },
  {
    name: 'an address leaves the record before the cloud has taken it back',
    file: 'src/allocation/pool/eni-step.ts',
    from: 'const gone = marked.filter(({ ip }) => !shown.has(ip));',
    to: 'const gone = marked;',
  },
  {
    name: 'addresses are asked for with a token that no record has',
    file: 'src/allocation/pool/eni-step.ts',
    from: "{ do: 'assign', eniId: eni.id, family, count, clientToken: token };",
    to: "{ do: 'assign', eniId: eni.id, family, count, clientToken: token.slice(1) };",
  },
  {
    name: 'after a record was lost, what looks idle is given up at once',
    file: 'src/allocation/pool/giving-up.ts',
    from: 'const mayGo = !isShort && !isUncertain;',
    to: 'const mayGo = !isShort;',
  },
  {
    name: 'a trunk in use gets the security groups of its creation back',
    file: 'src/allocation/trunk.ts',
    from: 'return shared.length === 0 ? intent.securityGroupIDs : [...shared];',
    to: 'return intent.securityGroupIDs;',
  },
  {
    name: 'what somebody else has written of the rules of a node is overwritten',
    file: 'src/controllers/pool/writer.ts',
    from: 'DAEMON_FIELDS.filter((field) => !foreign.includes(field));',
    to: 'DAEMON_FIELDS;',
  },
  {
    name: 'a pod gets the IPv4 half of a pair alone',
    file: 'src/allocation/pool/hand-out.ts',
    from: 'this.#idle.flatMap((addresses) => addresses.splice(0, 1))',
    to: 'this.#idle.slice(0, 1).flatMap((addresses) => addresses.splice(0, 1))',
  },
  {
    name: 'the IPv6 half of a pair is not freed',
    file: 'src/allocation/pool/release.ts',
    from: 'for (const address of addressesOf(eni)) {',
    to: "for (const address of addressesOf(eni, 'ipv4')) {",
  },
  {
    name: 'addresses of one family that pair with none are kept',
    file: 'src/allocation/pool/shrink.ts',
    from: 'if (unpaired > 0) trim(draft, unpaired, families, freedMs, marked);',
    to: '',
  },
  {
    name: 'after a record was lost, what looks idle is handed out at once',
    file: 'src/allocation/pool/hand-out.ts',
    from: "if (outcome.isUncertain) return 'held';",
    to: '',
  },
  {
    name: 'a new record trusts stores that may be late',
    file: 'src/controllers/pool/adoption.ts',
    from: "if (isNew && !this.#stores.isPassed(name)) return { is: 'asked' };",
    to: '',
  },
  {
    name: 'IPv6 addresses are asked for before their IPv4 addresses are recorded',
    file: 'src/allocation/pool/eni-step.ts',
    from: "const family = ipv4 > 0 ? 'ipv4' : 'ipv6';",
    to: "const family = ipv6 > 0 ? 'ipv6' : 'ipv4';",
  },
];
