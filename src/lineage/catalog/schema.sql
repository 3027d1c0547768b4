-- The catalog's first schema, for SQLite and PostgreSQL: {id} and {text} are written as each of them wants it.
-- Rows are never changed but for `until`: what was true at a moment stays readable (`since <= m`, `until` above m or null).

CREATE TABLE change (
    id {id},
    time BIGINT NOT NULL,
    author {text} NOT NULL,
    source {text} NOT NULL
);
CREATE INDEX change_time ON change (time);

CREATE TABLE node_type (
    id {id},
    kind BIGINT NOT NULL,
    name {text} NOT NULL,
    version {text} NOT NULL,
    description {text},
    external_id {text},
    base BIGINT,
    input_type {text},
    output_type {text},
    since BIGINT NOT NULL,
    UNIQUE (kind, name, version)
);

CREATE TABLE type_property (
    type BIGINT NOT NULL,
    name {text} NOT NULL,
    value_kind BIGINT NOT NULL,
    since BIGINT NOT NULL,
    PRIMARY KEY (type, name)
);

CREATE TABLE node (
    id {id},
    kind BIGINT NOT NULL,
    type BIGINT NOT NULL,
    name {text},
    identity {text} UNIQUE,
    external_id {text},
    since BIGINT NOT NULL,
    UNIQUE (type, name),
    UNIQUE (kind, external_id)
);
CREATE INDEX node_of_type ON node (type, id);

CREATE TABLE revision (
    node BIGINT NOT NULL,
    since BIGINT NOT NULL,
    until BIGINT,
    state BIGINT NOT NULL,
    uri {text},
    PRIMARY KEY (node, since)
);
CREATE INDEX revision_uri ON revision (uri);
CREATE INDEX revision_since ON revision (since);

CREATE TABLE property (
    node BIGINT NOT NULL,
    custom BIGINT NOT NULL,
    name {text} NOT NULL,
    since BIGINT NOT NULL,
    until BIGINT,
    value_kind BIGINT NOT NULL,
    value {text} NOT NULL,
    number DOUBLE PRECISION,
    PRIMARY KEY (node, custom, name, since)
);
-- The beginning alone: PostgreSQL indexes no more than some 2,700 bytes.
CREATE INDEX property_value ON property (name, substr(value, 1, 200), node);
CREATE INDEX property_since ON property (since);

CREATE TABLE edge (
    id {id},
    source BIGINT NOT NULL,
    target BIGINT NOT NULL,
    kind BIGINT NOT NULL,
    path {text} NOT NULL,
    -- When it happened, where that is known.
    time BIGINT,
    flaw {text},
    since BIGINT NOT NULL,
    until BIGINT
);
CREATE INDEX edge_source ON edge (source, target);
CREATE INDEX edge_target ON edge (target, source);
CREATE INDEX edge_since ON edge (since);
CREATE UNIQUE INDEX edge_current ON edge (source, target, kind, path) WHERE until IS NULL;

-- Attributions (artifacts), associations (executions) and parents (contexts): what a context holds.
CREATE TABLE member (
    context BIGINT NOT NULL,
    node BIGINT NOT NULL,
    since BIGINT NOT NULL,
    until BIGINT,
    PRIMARY KEY (context, node, since)
);
CREATE INDEX member_node ON member (node, context);
CREATE UNIQUE INDEX member_current ON member (context, node) WHERE until IS NULL;
