// Made from schema.sql by `npm run generate`.
import { mutation, query } from '../callers.ts';
import { arrayOf, keyOf, oneOf, optional, orNull, pg, row, setOf, type ValueOf } from '../kinds.ts';
import { Message } from './chat.ts';

/** Waiting for the bytes, being checked, a file, or why not. */
export const UploadState = oneOf('files.upload_state', ['open', 'checking', 'done', 'refused']);
export type UploadState = ValueOf<typeof UploadState>;

/** A file on its way: put its bytes to `uploadUrl`, then say completeUpload. */
export const FileUpload = row('files.file_uploads', {
  /** The key. */
  id: pg.uuid,
  /** Whose it is. */
  ownerId: pg.uuid,
  /** What the file will be called. */
  name: pg.text,
  /** How large it will be. */
  bytes: orNull(pg.int8),
  /** Whether anyone will see it. */
  isPublic: pg.bool,
  /** How far it is; `userEvents` tells when it is done or refused. */
  state: UploadState,
  /** Why it was refused. */
  problem: orNull(pg.text),
  /** The file that it has become. */
  fileId: orNull(pg.uuid),
  /** When it was begun. */
  createdAt: pg.timestamptz,
  /** Until when it may be completed. */
  expiresAt: pg.timestamptz,
});
export type FileUpload = ValueOf<typeof FileUpload>;

/**
 * A file that someone has uploaded: seen by who may see a message that it is attached to, by its owner, and by all if
 * it is public.
 */
export const File = row('files.files', {
  /** The key; rises with the time of the upload. */
  id: pg.uuid,
  /** Who uploaded it. */
  ownerId: orNull(pg.uuid),
  /** What it is called, up to 200 characters. */
  name: pg.text,
  /** What it is, as its bytes say: `image/png`. */
  mediaType: pg.text,
  /** Its size. */
  bytes: pg.int8,
  /** Its SHA-256. */
  sha256: pg.bytea,
  /** Of an image, in pixels; null until it has been read. */
  width: orNull(pg.int4),
  /** Of an image, in pixels. */
  height: orNull(pg.int4),
  /** Of its preview; null for none. */
  previewWidth: orNull(pg.int4),
  /** Of its preview. */
  previewHeight: orNull(pg.int4),
  /** Whether anyone may see it, signed in or not. */
  isPublic: pg.bool,
  /** When it was uploaded. */
  createdAt: pg.timestamptz,
  /** From when on nobody has it any more, whatever message it is attached to; null for never. */
  expiresAt: orNull(pg.timestamptz),
});
export type File = ValueOf<typeof File>;

/** What someone's files take, and may take. */
export const FileUsage = row('files.file_usage', {
  /** What they take. */
  bytes: orNull(pg.int8),
  /** How many there are. */
  files: orNull(pg.int8),
  /** What they may take. */
  mostBytes: orNull(pg.int8),
  /** How many there may be. */
  mostFiles: orNull(pg.int8),
  /** The largest that one may be. */
  mostFileBytes: orNull(pg.int8),
});
export type FileUsage = ValueOf<typeof FileUsage>;

/** Ends uploads that nobody has completed; what was put goes. Those of others, and those that are files already, stay. */
export const cancelUploads = mutation('files.cancel_uploads', { ids: arrayOf(pg.uuid) });

/** Says that the bytes of an upload are there. They are checked; `userEvents` tells `file_ready` or `file_refused`. */
export const completeUpload = mutation('files.complete_upload', { uploadId: pg.uuid }, FileUpload);

/** Begins to upload a file of so many bytes: PUT them to `uploadUrl`, then say completeUpload. */
export const createUpload = mutation('files.create_upload', {
  name: pg.text,
  bytes: pg.int8,
  isPublic: optional(pg.bool),
}, FileUpload);

/** Removes a file of the caller's that no message has. */
export const deleteFile = mutation('files.delete_file', { fileId: pg.uuid });

/**
 * Removes uploads that were not completed, files that have expired or that nothing refers to, and bytes that no file
 * has; returns how many.
 */
export const expireFiles = mutation('files.expire_files', { most: optional(pg.int4) }, pg.int8);

/** The files of the message, in the order in which they were attached. */
export const files = query('files.files', { message: keyOf(Message, 'id') }, setOf(File));

/** What the caller's files take, and may take. */
export const myFileUsage = query('files.my_file_usage', {}, FileUsage);

/** The files that the caller has uploaded, the newest first. */
export const myFiles = query('files.my_files', {}, setOf(File));

/** Where a smaller image of it (WebP) can be downloaded; null where there is none, or not yet. */
export const previewUrl = query('files.preview_url', { file: keyOf(File, 'id') }, orNull(pg.text));

/**
 * Sends a message with files: those that the caller has uploaded, or may see elsewhere (forwarding). Without a text, it
 * is their names. With a `nonce`, sending again returns the first message.
 */
export const sendFiles = mutation('files.send_files', {
  channelId: pg.uuid,
  fileIds: arrayOf(pg.uuid),
  text: optional(pg.text),
  nonce: optional(pg.text),
  replyToId: optional(pg.uuid),
  metadata: optional(pg.jsonb),
}, Message);

/** Sets from when on nobody has a file of the caller's any more; without a time it is kept. */
export const setFileExpiry = mutation('files.set_file_expiry', {
  fileId: pg.uuid,
  expiresAt: optional(pg.timestamptz),
}, File);

/** What a user's files may take; without `bytes`, as much as others' may. */
export const setQuota = mutation('files.set_quota', { userId: pg.uuid, bytes: optional(pg.int8) });

/**
 * Keeps a file of a multipart request. Until it is sent with a message only its owner sees it, unless it is public;
 * what is neither goes after a day.
 */
export const uploadFile = mutation('files.upload_file', { file: pg.uuid, isPublic: optional(pg.bool) }, File);

/** Where to PUT the bytes, exactly as many as were announced; null once it is completed or has expired. */
export const uploadUrl = query('files.upload_url', { upload: keyOf(FileUpload, 'id') }, orNull(pg.jsonb));

/**
 * Where it can be downloaded, with ranges, by whoever has this address, for an hour or two; of a public file for ever.
 * Relative to the address of the API.
 */
export const url = query('files.url', { file: keyOf(File, 'id') }, pg.text);
