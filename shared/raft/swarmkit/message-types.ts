// swarmkit's protobuf messages from the tables beside this file: static types and decoding. The one door to the
// protobuf library's runtime.
//
// A table says for each message its fields: name: [number, type] or [number, type, oneof]. Names are swarmkit's in
// camel case. A type is a scalar, a message or an enum of the tables, `T[]` for a repeated field, `map<string,T>` for a
// map. Fields that the tables do not know stay in the message as `$unknown`.
import {
  create,
  createFileRegistry,
  fromBinary,
  toBinary,
  type DescMessage,
  type MessageInitShape,
  type UnknownField,
} from "@bufbuild/protobuf";
import {
  Edition,
  FeatureSet_FieldPresence,
  FeatureSet_Utf8Validation,
  FieldDescriptorProto_Label,
  FieldDescriptorProto_Type,
  FileDescriptorProtoSchema,
  type DescriptorProto,
  type FieldDescriptorProto,
} from "@bufbuild/protobuf/wkt";

import { formatError } from "../wire.ts";
import { clusterEnums, clusterMessages } from "./cluster.ts";
import { containerEnums, containerMessages } from "./container.ts";
import { nodeEnums, nodeMessages } from "./node.ts";
import { objectEnums, objectMessages } from "./objects.ts";
import { serviceEnums, serviceMessages } from "./service.ts";

const messages = {
  ...objectMessages,
  ...serviceMessages,
  ...containerMessages,
  ...clusterMessages,
  ...nodeMessages,
} as const;
const enums = { ...objectEnums, ...serviceEnums, ...containerEnums, ...clusterEnums, ...nodeEnums } as const;

type Messages = typeof messages;
type Enums = typeof enums;
export type MessageName = keyof Messages;
export type EnumName = keyof Enums;

interface Scalars {
  string: string;
  bytes: Uint8Array;
  bool: boolean;
  uint32: number;
  int32: number;
  float: number;
  uint64: bigint;
  int64: bigint;
}

type Element<T> = T extends keyof Scalars
  ? Scalars[T]
  : T extends EnumName
    ? number
    : T extends MessageName
      ? Message<T>
      : never;
type Field<T> = T extends `${infer E}[]`
  ? Element<E>[]
  : T extends `map<string,${infer E}>`
    ? Record<string, Element<E>>
    : T extends MessageName
      ? Message<T> | undefined
      : Element<T>;
type OneofName<N extends MessageName> = {
  [F in keyof Messages[N]]: Messages[N][F] extends readonly [number, string, infer O extends string] ? O : never;
}[keyof Messages[N]];
type OneofValue<N extends MessageName, O extends string> =
  | {
      [F in keyof Messages[N]]: Messages[N][F] extends readonly [number, infer T, O]
        ? { case: F; value: Element<T> }
        : never;
    }[keyof Messages[N]]
  | { case: undefined; value?: undefined };

/** A decoded message: absent messages are undefined, absent scalars their zero, oneofs `{ case, value }`. */
export type Message<N extends MessageName> = PlainFields<Messages[N]> & {
  -readonly [O in OneofName<N>]: OneofValue<N, O>;
} & { $unknown?: UnknownField[] };

type PlainFields<T> = {
  -readonly [F in keyof T as T[F] extends readonly [number, string] ? F : never]: T[F] extends readonly [
    number,
    infer E,
  ]
    ? Field<E>
    : never;
};

/** Throws SKEP_RAFT_FORMAT where the bytes are no such message. */
export function decodeMessage<N extends MessageName>(name: N, bytes: Uint8Array): Message<N> {
  try {
    return fromBinary(descriptor(name), bytes) as unknown as Message<N>;
  } catch (error) {
    throw formatError(`${name}: not a protobuf message: ${error instanceof Error ? error.message : "unreadable"}`);
  }
}

/** What an encoder takes: any part of a message; what is left out is absent. */
export type MessageInit<T> = T extends Uint8Array | bigint | string | number | boolean | undefined
  ? T
  : T extends (infer E)[]
    ? MessageInit<E>[]
    : { [K in keyof T]?: MessageInit<T[K]> };

/** The inverse of decodeMessage; fields that no table knows are written back as they came. */
export function encodeMessage<N extends MessageName>(name: N, message: MessageInit<Message<N>>): Uint8Array {
  return toBinary(descriptor(name), create(descriptor(name), message as MessageInitShape<DescMessage>));
}

/** A message to be put into a decoded one, which takes no plain objects. */
export function makeMessage<N extends MessageName>(name: N, message: MessageInit<Message<N>>): Message<N> {
  return create(descriptor(name), message as MessageInitShape<DescMessage>) as unknown as Message<N>;
}

/** The enum value's name in lower case with underscores, or the number in digits where no table knows it. */
export function enumName(name: EnumName, value: number): string {
  const names: Record<number, string> = enums[name];
  return names[value]?.toLowerCase() ?? String(value);
}

/**
 * Paths (`spec.task.container.99`) of the fields that no table knows, in a decoded message and those within. It passes all that
 * every object of a swarm consists of and mostly finds nothing: so it makes nothing until then.
 */
export function unknownFields(message: object): readonly string[] {
  let found = nothing;
  for (const key in message) {
    const value = (message as Record<string, unknown>)[key];
    if (typeof value !== "object" || value === null || value instanceof Uint8Array) continue;
    const within = key === "$unknown" ? (value as UnknownField[]).map(({ no }) => String(no)) : unknownFields(value);
    if (within.length === 0) continue;
    found = [...found, ...(key === "$unknown" ? within : within.map((path) => `${key}.${path}`))];
  }
  return found;
}

const nothing: readonly string[] = [];

const packageName = "docker.swarmkit.v1";

let descriptors: Map<string, DescMessage> | undefined;

function descriptor(name: MessageName): DescMessage {
  descriptors ??= makeDescriptors();
  const found = descriptors.get(protoName(name));
  if (found === undefined) throw new Error(`no descriptor of ${name}`);
  return found;
}

/** Nested names are laid flat: only numbers and types reach the wire. */
function protoName(name: string): string {
  return name.replaceAll(".", "_");
}

function makeDescriptors(): Map<string, DescMessage> {
  const file = create(FileDescriptorProtoSchema, {
    name: "swarmkit.proto",
    package: packageName,
    // As proto3, but text that is not UTF-8 is no fault: Go's engine never looks (an error text of a task, cut short).
    syntax: "editions",
    edition: Edition.EDITION_2023,
    options: {
      features: {
        fieldPresence: FeatureSet_FieldPresence.IMPLICIT,
        utf8Validation: FeatureSet_Utf8Validation.NONE,
      },
    },
    messageType: Object.entries(messages).map(([name, fields]) => messageProto(name, fields)),
    enumType: Object.entries(enums).map(([name, values]) => ({
      name: protoName(name),
      value: Object.entries(values).map(([number, value]) => ({
        name: `${protoName(name)}_${value}`,
        number: Number(number),
      })),
    })),
  });
  const registry = createFileRegistry(file, () => undefined);
  return new Map(
    [...registry]
      .filter((type) => type.kind === "message")
      .map((type) => [type.typeName.slice(packageName.length + 1), type]),
  );
}

type FieldTable = Record<string, readonly [number, string] | readonly [number, string, string]>;
type Shape<T> = Partial<Omit<T, "$typeName" | "$unknown">>;

function messageProto(name: string, fields: FieldTable): Shape<DescriptorProto> {
  const oneofs = [...new Set(Object.values(fields).flatMap((field) => (field[2] === undefined ? [] : [field[2]])))];
  const nested: Shape<DescriptorProto>[] = [];
  const field = Object.entries(fields).map(([fieldName, [number, type, oneof]]): Shape<FieldDescriptorProto> => {
    const position = oneof === undefined ? {} : { oneofIndex: oneofs.indexOf(oneof) };
    const mapOf = /^map<string,(.+)>$/.exec(type)?.[1];
    if (mapOf === undefined) {
      const repeated = type.endsWith("[]");
      return {
        name: fieldName,
        number,
        ...typeOf(repeated ? type.slice(0, -2) : type),
        ...label(repeated),
        ...position,
      };
    }
    const entry = `${fieldName.charAt(0).toUpperCase()}${fieldName.slice(1)}Entry`;
    nested.push({
      name: entry,
      field: [
        { name: "key", number: 1, ...typeOf("string"), ...label(false) },
        { name: "value", number: 2, ...typeOf(mapOf), ...label(false) },
      ] as FieldDescriptorProto[],
      options: { mapEntry: true } as DescriptorProto["options"],
    });
    return {
      name: fieldName,
      number,
      type: FieldDescriptorProto_Type.MESSAGE,
      typeName: `.${packageName}.${protoName(name)}.${entry}`,
      ...label(true),
    };
  });
  return {
    name: protoName(name),
    field: field as FieldDescriptorProto[],
    nestedType: nested as DescriptorProto[],
    oneofDecl: oneofs.map((oneof) => ({ name: oneof })) as DescriptorProto["oneofDecl"],
  };
}

function label(repeated: boolean): Shape<FieldDescriptorProto> {
  return { label: repeated ? FieldDescriptorProto_Label.REPEATED : FieldDescriptorProto_Label.OPTIONAL };
}

const scalarTypes: Record<string, FieldDescriptorProto_Type> = {
  string: FieldDescriptorProto_Type.STRING,
  bytes: FieldDescriptorProto_Type.BYTES,
  bool: FieldDescriptorProto_Type.BOOL,
  uint32: FieldDescriptorProto_Type.UINT32,
  int32: FieldDescriptorProto_Type.INT32,
  float: FieldDescriptorProto_Type.FLOAT,
  uint64: FieldDescriptorProto_Type.UINT64,
  int64: FieldDescriptorProto_Type.INT64,
};

function typeOf(type: string): Shape<FieldDescriptorProto> {
  const scalar = scalarTypes[type];
  if (scalar !== undefined) return { type: scalar };
  return {
    type: type in enums ? FieldDescriptorProto_Type.ENUM : FieldDescriptorProto_Type.MESSAGE,
    typeName: `.${packageName}.${protoName(type)}`,
  };
}
