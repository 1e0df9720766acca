#!/usr/bin/env node
import { readFile } from 'node:fs/promises';
import { parseArgs } from 'node:util';
import { ConfigError, parseSimulatorConfig, seedAccount, simulatorOptions } from '../../sim/cloud/config.ts';
import { isLoopback, type ListenAddress, parseListenAddress } from '../../sim/cloud/http/http-listener.ts';
import { CloudModel } from '../../sim/cloud/model/model.ts';
import { startCloudSimulator } from '../../sim/cloud/server.ts';
import { systemClock } from '../util/clock.ts';
import { errorMessage } from '../util/errors.ts';

/**
 * Runs the Alibaba Cloud simulator as a separate process. When ready, it prints one line of JSON:
 * `{"ready":true,"endpoint":"127.0.0.1:8100","adminUrl":"http://127.0.0.1:8101/_sim","metadataEndpoint":"","regionId":"cn-hangzhou"}`.
 * Exit status: 0 after SIGTERM or SIGINT, 2 for a malformed flag or configuration, 1 for anything else.
 */

const USAGE = `Usage: alicloud-sim [--listen HOST:PORT] [--admin-listen HOST:PORT|none]
                    [--metadata-listen HOST:PORT|none] [--config FILE]

  --listen           where the ECS and VPC API is served (default 127.0.0.1:0, any free port)
  --admin-listen     where the control channel is served, loopback only, or none (default 127.0.0.1:0)
  --metadata-listen  where instance metadata are served to the VPC switch, loopback only, or none (default none)
  --config           YAML file with the account: region, zones, accessKeys, network, instances, latencies, behaviour
`;

interface Flags {
  listen: ListenAddress;
  adminListen: ListenAddress | false;
  metadataListen: ListenAddress | undefined;
  configFile: string | undefined;
  help: boolean;
}

await main();

async function main(): Promise<void> {
  try {
    const flags = parseFlags(process.argv.slice(2));
    if (flags.help) process.stdout.write(USAGE);
    else await run(flags);
  } catch (error) {
    process.stderr.write(`alicloud-sim: ${errorMessage(error).replace(/\s+/g, ' ')}\n`);
    process.exitCode = error instanceof ConfigError ? 2 : 1;
  }
}

/** Serves until SIGTERM or SIGINT. */
async function run(flags: Flags): Promise<void> {
  const config = parseSimulatorConfig(flags.configFile === undefined ? '' : await readConfig(flags.configFile));
  const { accessKeys, account } = simulatorOptions(config);
  const model = new CloudModel(account);
  seedAccount(model, config, systemClock.now());
  await using simulator = await startCloudSimulator({
    listen: flags.listen,
    adminListen: flags.adminListen,
    metadataListen: flags.metadataListen,
    accessKeys,
    model,
  });
  const stopped = untilSignal();
  const ready = {
    ready: true,
    endpoint: simulator.endpoint,
    adminUrl: simulator.adminUrl,
    metadataEndpoint: simulator.metadataEndpoint,
    regionId: config.region,
    accessKeyIds: simulator.accessKeys.map((key) => key.accessKeyId),
  };
  process.stdout.write(`${JSON.stringify(ready)}\n`);
  await stopped;
}

function parseFlags(args: string[]): Flags {
  const values = flagValues(args);
  return {
    listen: address('--listen', values.listen ?? '127.0.0.1:0'),
    adminListen: loopbackOrNone('--admin-listen', values['admin-listen'] ?? '127.0.0.1:0') ?? false,
    metadataListen: loopbackOrNone('--metadata-listen', values['metadata-listen'] ?? 'none'),
    configFile: values.config,
    help: values.help === true,
  };
}

function flagValues(args: string[]) {
  try {
    return parseArgs({
      args,
      options: {
        listen: { type: 'string' },
        'admin-listen': { type: 'string' },
        'metadata-listen': { type: 'string' },
        config: { type: 'string' },
        help: { type: 'boolean', short: 'h' },
      },
    }).values;
  } catch (cause) {
    throw new ConfigError(errorMessage(cause), { cause });
  }
}

function loopbackOrNone(flag: string, text: string): ListenAddress | undefined {
  if (text === 'none') return undefined;
  const parsed = address(flag, text);
  if (!isLoopback(parsed.host)) throw new ConfigError(`${flag}: must be a loopback address, not ${parsed.host}`);
  return parsed;
}

function address(flag: string, text: string): ListenAddress {
  const parsed = parseListenAddress(text);
  if (parsed === undefined) throw new ConfigError(`${flag}: expected HOST:PORT, got "${text}"`);
  return parsed;
}

async function readConfig(file: string): Promise<string> {
  try {
    return await readFile(file, 'utf8');
  } catch (cause) {
    throw new ConfigError(`--config: ${errorMessage(cause)}`, { cause });
  }
}

function untilSignal(): Promise<void> {
  return new Promise((resolve) => {
    for (const signal of ['SIGTERM', 'SIGINT'] as const) process.once(signal, () => resolve());
  });
}
