import { expect } from "chai";
import fc from "fast-check";
import { decodeErrorMessage, encodeErrorMessage, SkepError, toErrorRecord } from "../../shared/errors.ts";
import { errorRecordSchema } from "../../shared/repository/run.ts";

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

  it("makes records that a run takes, whatever was thrown or lies in the queue", () => {
    const long = "x".repeat(100_000);
    const fields = { code: "SKEP_TEST_CASE", message: long, permanent: true, hint: long } as const;
    const forged = `skep-error:${JSON.stringify({ ...fields, more: long })}`;
    const records = [
      toErrorRecord(new SkepError(fields)),
      toErrorRecord(new Error(long)),
      toErrorRecord(long),
      decodeErrorMessage(forged),
      decodeErrorMessage(long),
    ];
    for (const record of records) expect(errorRecordSchema.parse(record)).to.deep.equal(record);
  });
});
