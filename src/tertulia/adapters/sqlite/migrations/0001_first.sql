-- The first schema.  Frozen: later changes are scripts of their own.

CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;

-- One row for each log; `no` stands for it in the tables below.
CREATE TABLE log (
    no INTEGER PRIMARY KEY,
    tenant TEXT NOT NULL,
    id TEXT NOT NULL UNIQUE,
    kind TEXT NOT NULL,
    room TEXT NOT NULL,
    epoch INTEGER NOT NULL,
    first_seq INTEGER NOT NULL DEFAULT 1
);

-- Events lie in the order of their commits, so that a batch writes to the end of the table only.
-- `main` is 1 for a message of the main log.  `span` is the number of events of the unit that this
-- event begins.  `idem` is never removed: a client's retry is known as long as the log lives.
CREATE TABLE event (
    id INTEGER PRIMARY KEY,
    log INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    main INTEGER NOT NULL,
    kind TEXT NOT NULL,
    actor TEXT NOT NULL,
    at INTEGER NOT NULL,
    ordinal INTEGER NOT NULL,
    all_ordinal INTEGER NOT NULL,
    thread_ordinal INTEGER NOT NULL,
    target INTEGER NOT NULL,
    thread INTEGER NOT NULL,
    span INTEGER NOT NULL,
    key_id TEXT NOT NULL,
    client_id TEXT NOT NULL,
    idem BLOB,
    request BLOB,
    body BLOB
);
-- `main` is in the index so that a page of messages walks over reactions without reading them.
CREATE UNIQUE INDEX event_seq ON event (log, seq, main);
CREATE UNIQUE INDEX event_idem ON event (idem) WHERE idem IS NOT NULL;
CREATE INDEX event_target ON event (log, target) WHERE target > 0;
CREATE INDEX event_thread ON event (log, thread, seq) WHERE thread > 0;

-- What later events changed about a message (a projection that commits with the log).
CREATE TABLE fold (
    log INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    version INTEGER NOT NULL,
    doc BLOB NOT NULL,
    PRIMARY KEY (log, seq)
) WITHOUT ROWID;

-- The rows of domain/records.py: key and index fields as columns, all of the record in `doc`.

CREATE TABLE "tenant" (
    "tenant" TEXT NOT NULL,
    version INTEGER NOT NULL,
    doc BLOB NOT NULL,
    PRIMARY KEY ("tenant")
) WITHOUT ROWID;

CREATE TABLE "api_key" (
    "tenant" TEXT NOT NULL,
    "id" TEXT NOT NULL,
    version INTEGER NOT NULL,
    doc BLOB NOT NULL,
    PRIMARY KEY ("tenant", "id")
) WITHOUT ROWID;

CREATE TABLE "user" (
    "tenant" TEXT NOT NULL,
    "id" TEXT NOT NULL,
    "handle" TEXT NOT NULL,
    "external" TEXT NOT NULL,
    version INTEGER NOT NULL,
    doc BLOB NOT NULL,
    PRIMARY KEY ("tenant", "id")
) WITHOUT ROWID;
CREATE UNIQUE INDEX "user_handle" ON "user" ("tenant", "handle") WHERE "handle" <> '';
CREATE UNIQUE INDEX "user_external" ON "user" ("tenant", "external") WHERE "external" <> '';

CREATE TABLE "handle_taken" (
    "tenant" TEXT NOT NULL,
    "handle" TEXT NOT NULL,
    version INTEGER NOT NULL,
    doc BLOB NOT NULL,
    PRIMARY KEY ("tenant", "handle")
) WITHOUT ROWID;

CREATE TABLE "identity" (
    "tenant" TEXT NOT NULL,
    "kind" TEXT NOT NULL,
    "value" TEXT NOT NULL,
    "user" TEXT NOT NULL,
    version INTEGER NOT NULL,
    doc BLOB NOT NULL,
    PRIMARY KEY ("tenant", "kind", "value")
) WITHOUT ROWID;
CREATE INDEX "identity_user" ON "identity" ("tenant", "user");

CREATE TABLE "credential" (
    "tenant" TEXT NOT NULL,
    "user" TEXT NOT NULL,
    version INTEGER NOT NULL,
    doc BLOB NOT NULL,
    PRIMARY KEY ("tenant", "user")
) WITHOUT ROWID;

CREATE TABLE "code" (
    "tenant" TEXT NOT NULL,
    "purpose" TEXT NOT NULL,
    "address" TEXT NOT NULL,
    version INTEGER NOT NULL,
    doc BLOB NOT NULL,
    PRIMARY KEY ("tenant", "purpose", "address")
) WITHOUT ROWID;

CREATE TABLE "device" (
    "tenant" TEXT NOT NULL,
    "user" TEXT NOT NULL,
    "id" TEXT NOT NULL,
    "family" TEXT NOT NULL,
    version INTEGER NOT NULL,
    doc BLOB NOT NULL,
    PRIMARY KEY ("tenant", "user", "id")
) WITHOUT ROWID;
CREATE UNIQUE INDEX "device_family" ON "device" ("tenant", "family") WHERE "family" <> '';

CREATE TABLE "settings" (
    "tenant" TEXT NOT NULL,
    "user" TEXT NOT NULL,
    version INTEGER NOT NULL,
    doc BLOB NOT NULL,
    PRIMARY KEY ("tenant", "user")
) WITHOUT ROWID;

CREATE TABLE "last_seen" (
    "tenant" TEXT NOT NULL,
    "user" TEXT NOT NULL,
    version INTEGER NOT NULL,
    doc BLOB NOT NULL,
    PRIMARY KEY ("tenant", "user")
) WITHOUT ROWID;

CREATE TABLE "contact" (
    "tenant" TEXT NOT NULL,
    "user" TEXT NOT NULL,
    "other" TEXT NOT NULL,
    version INTEGER NOT NULL,
    doc BLOB NOT NULL,
    PRIMARY KEY ("tenant", "user", "other")
) WITHOUT ROWID;

CREATE TABLE "block" (
    "tenant" TEXT NOT NULL,
    "user" TEXT NOT NULL,
    "other" TEXT NOT NULL,
    version INTEGER NOT NULL,
    doc BLOB NOT NULL,
    PRIMARY KEY ("tenant", "user", "other")
) WITHOUT ROWID;
CREATE INDEX "block_other" ON "block" ("tenant", "other", "user");

CREATE TABLE "report" (
    "tenant" TEXT NOT NULL,
    "id" TEXT NOT NULL,
    version INTEGER NOT NULL,
    doc BLOB NOT NULL,
    PRIMARY KEY ("tenant", "id")
) WITHOUT ROWID;

CREATE TABLE "conversation" (
    "tenant" TEXT NOT NULL,
    "id" TEXT NOT NULL,
    "pair" TEXT NOT NULL,
    "slug" TEXT NOT NULL,
    "parent" TEXT NOT NULL,
    "listed" INTEGER NOT NULL,
    version INTEGER NOT NULL,
    doc BLOB NOT NULL,
    PRIMARY KEY ("tenant", "id")
) WITHOUT ROWID;
CREATE UNIQUE INDEX "conversation_pair" ON "conversation" ("tenant", "pair") WHERE "pair" <> '';
CREATE UNIQUE INDEX "conversation_slug" ON "conversation" ("tenant", "slug") WHERE "slug" <> '';
CREATE INDEX "conversation_parent" ON "conversation" ("tenant", "parent", "id");
CREATE INDEX "conversation_listed" ON "conversation" ("tenant", "listed", "id");

CREATE TABLE "member" (
    "tenant" TEXT NOT NULL,
    "conversation" TEXT NOT NULL,
    "user" TEXT NOT NULL,
    version INTEGER NOT NULL,
    doc BLOB NOT NULL,
    PRIMARY KEY ("tenant", "conversation", "user")
) WITHOUT ROWID;
CREATE INDEX "member_user" ON "member" ("tenant", "user", "conversation");

CREATE TABLE "invite" (
    "tenant" TEXT NOT NULL,
    "conversation" TEXT NOT NULL,
    "id" TEXT NOT NULL,
    "digest" BLOB NOT NULL,
    version INTEGER NOT NULL,
    doc BLOB NOT NULL,
    PRIMARY KEY ("tenant", "conversation", "id")
) WITHOUT ROWID;
CREATE UNIQUE INDEX "invite_digest" ON "invite" ("tenant", "digest") WHERE "digest" <> x'';

CREATE TABLE "pin" (
    "tenant" TEXT NOT NULL,
    "conversation" TEXT NOT NULL,
    "seq" INTEGER NOT NULL,
    version INTEGER NOT NULL,
    doc BLOB NOT NULL,
    PRIMARY KEY ("tenant", "conversation", "seq")
) WITHOUT ROWID;

CREATE TABLE "reaction" (
    "tenant" TEXT NOT NULL,
    "conversation" TEXT NOT NULL,
    "seq" INTEGER NOT NULL,
    "emoji" TEXT NOT NULL,
    "user" TEXT NOT NULL,
    version INTEGER NOT NULL,
    doc BLOB NOT NULL,
    PRIMARY KEY ("tenant", "conversation", "seq", "emoji", "user")
) WITHOUT ROWID;
CREATE INDEX "reaction_own" ON "reaction" ("tenant", "conversation", "user", "seq");

CREATE TABLE "vote" (
    "tenant" TEXT NOT NULL,
    "conversation" TEXT NOT NULL,
    "seq" INTEGER NOT NULL,
    "user" TEXT NOT NULL,
    version INTEGER NOT NULL,
    doc BLOB NOT NULL,
    PRIMARY KEY ("tenant", "conversation", "seq", "user")
) WITHOUT ROWID;

CREATE TABLE "thread_follow" (
    "tenant" TEXT NOT NULL,
    "conversation" TEXT NOT NULL,
    "root" INTEGER NOT NULL,
    "user" TEXT NOT NULL,
    version INTEGER NOT NULL,
    doc BLOB NOT NULL,
    PRIMARY KEY ("tenant", "conversation", "root", "user")
) WITHOUT ROWID;
CREATE INDEX "thread_follow_user" ON "thread_follow" ("tenant", "user", "conversation", "root");

CREATE TABLE "hidden" (
    "tenant" TEXT NOT NULL,
    "user" TEXT NOT NULL,
    "conversation" TEXT NOT NULL,
    "seq" INTEGER NOT NULL,
    version INTEGER NOT NULL,
    doc BLOB NOT NULL,
    PRIMARY KEY ("tenant", "user", "conversation", "seq")
) WITHOUT ROWID;

CREATE TABLE "draft" (
    "tenant" TEXT NOT NULL,
    "user" TEXT NOT NULL,
    "conversation" TEXT NOT NULL,
    "thread" INTEGER NOT NULL,
    version INTEGER NOT NULL,
    doc BLOB NOT NULL,
    PRIMARY KEY ("tenant", "user", "conversation", "thread")
) WITHOUT ROWID;

CREATE TABLE "bookmark" (
    "tenant" TEXT NOT NULL,
    "user" TEXT NOT NULL,
    "conversation" TEXT NOT NULL,
    "seq" INTEGER NOT NULL,
    version INTEGER NOT NULL,
    doc BLOB NOT NULL,
    PRIMARY KEY ("tenant", "user", "conversation", "seq")
) WITHOUT ROWID;

CREATE TABLE "scheduled" (
    "tenant" TEXT NOT NULL,
    "user" TEXT NOT NULL,
    "id" TEXT NOT NULL,
    "send_at" INTEGER NOT NULL,
    version INTEGER NOT NULL,
    doc BLOB NOT NULL,
    PRIMARY KEY ("tenant", "user", "id")
) WITHOUT ROWID;
CREATE INDEX "scheduled_due" ON "scheduled" ("send_at", "tenant", "user", "id");

CREATE TABLE "outbox" (
    "tenant" TEXT NOT NULL,
    "id" TEXT NOT NULL,
    "topic" TEXT NOT NULL,
    "due_at" INTEGER NOT NULL,
    version INTEGER NOT NULL,
    doc BLOB NOT NULL,
    PRIMARY KEY ("tenant", "id")
) WITHOUT ROWID;
CREATE INDEX "outbox_due" ON "outbox" ("topic", "due_at", "id");

CREATE TABLE "cursor" (
    "tenant" TEXT NOT NULL,
    "conversation" TEXT NOT NULL,
    "user" TEXT NOT NULL,
    "thread" INTEGER NOT NULL,
    version INTEGER NOT NULL,
    doc BLOB NOT NULL,
    PRIMARY KEY ("tenant", "conversation", "user", "thread")
) WITHOUT ROWID;
CREATE INDEX "cursor_user" ON "cursor" ("tenant", "user", "conversation", "thread");

CREATE TABLE "mention" (
    "tenant" TEXT NOT NULL,
    "user" TEXT NOT NULL,
    "conversation" TEXT NOT NULL,
    "seq" INTEGER NOT NULL,
    version INTEGER NOT NULL,
    doc BLOB NOT NULL,
    PRIMARY KEY ("tenant", "user", "conversation", "seq")
) WITHOUT ROWID;

CREATE TABLE "expiry" (
    "tenant" TEXT NOT NULL,
    "conversation" TEXT NOT NULL,
    "seq" INTEGER NOT NULL,
    "at" INTEGER NOT NULL,
    version INTEGER NOT NULL,
    doc BLOB NOT NULL,
    PRIMARY KEY ("tenant", "conversation", "seq")
) WITHOUT ROWID;
CREATE INDEX "expiry_due" ON "expiry" ("at", "tenant", "conversation", "seq");
