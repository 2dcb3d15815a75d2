import { expect } from "chai";
import fc from "fast-check";
import { decodeErrorMessage, encodeErrorMessage, SkepError, toErrorRecord } from "../../shared/errors.ts";

describe("errors", () => {
  it("crosses the queue whole: decode(encode(error)) keeps code, message, permanence and hint", () => {
    fc.assert(
      fc.property(fc.string(), fc.boolean(), fc.option(fc.string(), { nil: undefined }), (message, permanent, hint) => {
        const error = new SkepError({
          code: "SKEP_TEST_CASE",
          message,
          permanent,
          ...(hint === undefined ? {} : { hint }),
        });
        expect(decodeErrorMessage(encodeErrorMessage(error))).to.deep.equal(toErrorRecord(error));
      }),
    );
  });

  it("takes a foreign or forged message as plain text", () => {
    for (const message of ["job stalled more than allowable limit", "skep-error:{", 'skep-error:{"code":"rm -rf"}']) {
      expect(decodeErrorMessage(message)).to.deep.equal({ code: "SKEP_QUEUE_JOB_FAILED", message, permanent: false });
    }
  });
});
