import * as z from 'zod';
import type { Account } from './account.ts';
import { type ApiError, invalidParameter, missingParameter } from './errors.ts';

/** The product that an action belongs to. Both products share one endpoint; the version distinguishes them. */
export type Product = 'Ecs' | 'Vpc';

export const PRODUCT_VERSIONS: Readonly<Record<Product, string>> = { Ecs: '2014-05-26', Vpc: '2016-04-28' };

/**
 * Parameters before they are checked: `{Tag: [{Key: 'a'}]}`, or `{Tag: {1: {Key: 'a'}}}` as on the wire. Values may be text or
 * already have their type.
 */
export type ParamTree = { readonly [name: string]: ParamValue };
export type ParamValue = string | number | boolean | readonly ParamValue[] | ParamTree | undefined;

/** The environment of a handler. */
export interface CallContext {
  account: Account;
  nowMs: number;
  /** Ids of objects that the call created, changed or removed. For the journal. */
  touched: string[];
}

/** One API. `run` checks the parameters, makes the changes and returns the response without RequestId. Throws ApiError. */
export interface Action {
  name: string;
  product: Product;
  /** Checks the parameters and brings them into a form that is equal exactly for equal requests. Throws ApiError. */
  prepare(params: ParamTree): PreparedCall;
}

export interface PreparedCall {
  /** Empty when none was given. */
  clientToken: string;
  /** Equal exactly for requests whose parameters are equal, apart from the token. */
  fingerprint(): string;
  execute(context: CallContext): object;
}

/**
 * Defines an API.
 * @param definition `params` decides what is accepted (unknown parameters are ignored, as in the cloud); `handle` gets the
 *   checked parameters.
 */
export function defineAction<S extends z.ZodType<object>>(definition: {
  name: string;
  product: Product;
  params: S;
  handle(context: CallContext, params: z.output<S>): object;
}): Action {
  const tokenHolder = z.object({ ClientToken: z.string() });
  return {
    name: definition.name,
    product: definition.product,
    prepare: (tree) => {
      const parsed = definition.params.safeParse(tree);
      if (!parsed.success) throw firstError(parsed.error);
      const params = parsed.data;
      const token = tokenHolder.safeParse(params);
      return {
        clientToken: token.success ? token.data.ClientToken : '',
        // zod builds its output in the order of the schema, so the text does not depend on the order of the request.
        fingerprint: () => JSON.stringify({ ...params, ClientToken: undefined }),
        execute: (context) => definition.handle(context, params),
      };
    },
  };
}

function firstError(error: z.ZodError): ApiError {
  const issue = error.issues[0];
  if (issue === undefined) return invalidParameter('');
  const name = issue.path.map((part) => (typeof part === 'number' ? part + 1 : String(part))).join('.');
  return issue.message === MISSING ? missingParameter(name) : invalidParameter(name, issue.message);
}

/** Marks the absence of a mandatory parameter in a zod issue. */
export const MISSING = 'missing';
