import { expect } from "chai";
import { SkepError } from "../../../shared/errors.ts";

/** The act must fail with this code; hands its error back. */
export async function expectCode(code: string, act: () => unknown): Promise<SkepError> {
  try {
    await act();
  } catch (error) {
    if (!(error instanceof SkepError)) throw error;
    expect(error.code, error.message).to.equal(code);
    return error;
  }
  throw new Error(`expected ${code}, but nothing failed`);
}
