import type { IncomingMessage, ServerResponse } from 'node:http';
import type * as z from 'zod';
import type { Clock } from '../../../src/util/clock.ts';
import { errorMessage } from '../../../src/util/errors.ts';
import { adminOperations } from '../admin-api.ts';
import { ApiError, invalidParameter } from '../model/errors.ts';
import type { CloudModel } from '../model/model.ts';
import { readBody } from './read-body.ts';
import { header } from './signature.ts';

const MAX_BODY_BYTES = 1024 * 1024;

/** How long `state?after=` waits for a change. Shorter than the timeouts of clients. */
const LONGEST_WAIT_MS = 20_000;

export interface AdminHandlerOptions {
  model: CloudModel;
  clock: Clock;
}

/**
 * The control channel: `GET /_sim/state`, `/_sim/state?after=GENERATION` (responds when the generation differs, or after a while
 * with the same state), `/_sim/journal?since=N&limit=M`, `/_sim/counters`, and `POST /_sim/<operation>` with a JSON body. An
 * error is `{code, message}` with a 4xx status. Never rejects.
 */
export function adminHandler(
  options: AdminHandlerOptions,
): (request: IncomingMessage, response: ServerResponse) => Promise<void> {
  return async (request, response) => {
    try {
      const result = await handleAdmin(options, request, response);
      sendJson(response, 200, result);
    } catch (error) {
      if (request.destroyed && !request.complete) return;
      if (error instanceof ApiError) sendJson(response, error.status, { code: error.code, message: error.message });
      else sendJson(response, 500, { code: 'InternalError', message: errorMessage(error) });
    }
  };
}

async function handleAdmin(
  { model, clock }: AdminHandlerOptions,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<unknown> {
  const body = await readBody(request, MAX_BODY_BYTES);
  if (body === undefined) throw new ApiError('RequestEntityTooLarge', 413, 'The request body is too large.');
  const url = new URL(`http://admin${request.url ?? '/'}`);
  const path = url.pathname.replace(/^\/_sim\//, '');
  if (request.method === 'GET') {
    switch (path) {
      case 'state':
        await changeAfter(model, clock, whole(url, 'after'), response);
        return model.snapshot(clock.now());
      case 'counters':
        model.advance(clock.now());
        return model.counters();
      case 'journal':
        model.advance(clock.now());
        return model.journal(whole(url, 'since') ?? 0, whole(url, 'limit') ?? 10_000);
      default:
        throw new ApiError('NotFound', 404, `There is no ${url.pathname}.`);
    }
  }
  if (request.method !== 'POST') throw new ApiError('MethodNotAllowed', 405, 'GET and POST only.');
  // A web page can reach a loopback port, but cannot send this content type without a CORS preflight.
  if (!header(request.headers, 'content-type').startsWith('application/json')) {
    throw new ApiError('UnsupportedMediaType', 415, 'Expected application/json.');
  }
  const operation = operations.get(path);
  if (operation === undefined) throw new ApiError('NotFound', 404, `There is no operation ${path.slice(0, 64)}.`);
  return operation(model, parseJson(body.toString('utf8')), clock.now());
}

/** Resolves when the generation is no longer `after`, when the client has disconnected, or after a while. */
async function changeAfter(
  model: CloudModel,
  clock: Clock,
  after: number | undefined,
  response: ServerResponse,
): Promise<void> {
  model.advance(clock.now());
  if (after === undefined || model.generation !== after) return;
  await new Promise<void>((resolve) => {
    const finish = (): void => {
      unsubscribe();
      timer.cancel();
      response.off('close', finish);
      resolve();
    };
    const unsubscribe = model.subscribe(() => {
      if (model.generation !== after) finish();
    });
    const timer = clock.schedule(LONGEST_WAIT_MS, finish);
    response.once('close', finish);
  });
}

type Operation = (model: CloudModel, body: unknown, nowMs: number) => unknown;

const { createVpc, createVSwitch, createSecurityGroup, runInstance } = adminOperations;

const operations: ReadonlyMap<string, Operation> = new Map([
  ['createVpc', define(createVpc.request, (model, request, nowMs) => model.createVpc(request, nowMs))],
  ['createVSwitch', define(createVSwitch.request, (model, request, nowMs) => model.createVSwitch(request, nowMs))],
  [
    'createSecurityGroup',
    define(createSecurityGroup.request, (model, request, nowMs) => model.createSecurityGroup(request, nowMs)),
  ],
  ['runInstance', define(runInstance.request, (model, request, nowMs) => model.runInstance(request, nowMs))],
  [
    'releaseInstance',
    define(adminOperations.releaseInstance.request, (model, { instanceId }, nowMs) =>
      model.releaseInstance(instanceId, nowMs),
    ),
  ],
  [
    'setInstanceStatus',
    define(adminOperations.setInstanceStatus.request, (model, { instanceId, status }, nowMs) =>
      model.setInstanceStatus(instanceId, status, nowMs),
    ),
  ],
  [
    'deleteEniByHand',
    define(adminOperations.deleteEniByHand.request, (model, { eniId }, nowMs) => model.deleteEniByHand(eniId, nowMs)),
  ],
  [
    'detachEniByHand',
    define(adminOperations.detachEniByHand.request, (model, { eniId }, nowMs) => model.detachEniByHand(eniId, nowMs)),
  ],
  [
    'deleteSecurityGroup',
    define(adminOperations.deleteSecurityGroup.request, (model, { securityGroupId }, nowMs) =>
      model.deleteSecurityGroup(securityGroupId, nowMs),
    ),
  ],
  [
    'deleteVSwitch',
    define(adminOperations.deleteVSwitch.request, (model, { vSwitchId }, nowMs) =>
      model.deleteVSwitch(vSwitchId, nowMs),
    ),
  ],
  ['deleteVpc', define(adminOperations.deleteVpc.request, (model, { vpcId }, nowMs) => model.deleteVpc(vpcId, nowMs))],
  [
    'setLatencies',
    define(adminOperations.setLatencies.request, (model, changes, nowMs) => model.setLatencies(changes, nowMs)),
  ],
  [
    'setBehaviour',
    define(adminOperations.setBehaviour.request, (model, changes, nowMs) => model.setBehaviour(changes, nowMs)),
  ],
  ['completeAll', define(adminOperations.completeAll.request, (model, _request, nowMs) => model.completeAll(nowMs))],
]);

function define<S extends z.ZodType>(
  schema: S,
  work: (model: CloudModel, request: z.output<S>, nowMs: number) => unknown,
): Operation {
  return (model, body, nowMs) => {
    const parsed = schema.safeParse(body);
    if (!parsed.success) {
      const issue = parsed.error.issues[0];
      throw invalidParameter(issue?.path.join('.') ?? '', issue?.message);
    }
    return work(model, parsed.data, nowMs);
  };
}

function parseJson(text: string): unknown {
  if (text === '') return {};
  try {
    return JSON.parse(text);
  } catch {
    throw new ApiError('InvalidParameter', 400, 'The body is not JSON.');
  }
}

/** A whole number from the query; undefined when absent. */
function whole(url: URL, parameter: string): number | undefined {
  const text = url.searchParams.get(parameter);
  if (text === null) return undefined;
  if (!/^\d{1,15}$/.test(text)) throw invalidParameter(parameter, 'a whole number');
  return Number(text);
}

function sendJson(response: ServerResponse, status: number, body: unknown): void {
  if (response.destroyed || response.headersSent) return;
  const text = JSON.stringify(body);
  response.writeHead(status, {
    'content-type': 'application/json;charset=utf-8',
    'content-length': Buffer.byteLength(text),
  });
  response.end(text);
}
