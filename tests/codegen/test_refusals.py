"""The build step refuses what the templates cannot express, with operation, place and remedy."""

from __future__ import annotations

from typing import Any

import pytest

pytest.importorskip("jinja2", reason="the build step's own tools are not installed")

from documents import (
    OBJECT,
    TEXT,
    Node,
    answering,
    build,
    causes,
    contract,
    json_body,
    operation,
    parameter,
    reading,
    ref,
    sending,
    surface,
    taking,
)

from views import SurfaceError, package_view

GET = "doIt (GET /t), #/paths/~1t/get"
POST = "doIt (POST /t), #/paths/~1t/post"
BODY = f"{POST}/requestBody/content/application~1json/schema"
ANSWER = f"{GET}/responses/200/content/application~1json/schema"
NULLABLE: Node = {"type": "string", "nullable": True}
NULL: Node = {"type": "null"}
STYLE = (
    "and that is not supported. Use a scalar, a list of scalars or an object of scalars, in a "
    "style that OpenAPI has for it."
)
UNION_TAG = (
    "the tag z selects Z, which is not one of the alternatives. Add it to them, or remove the tag."
)


def fields(**properties: object) -> Node:
    """Return an object with these properties."""
    return {"type": "object", "properties": properties}


def scheme(*names: str) -> Node:
    """Return the demand for the credentials of all these security schemes."""
    return {name: list[str]() for name in names}


def tagged(*names: str) -> Node:
    """Return a union whose discriminator selects a schema outside it."""
    discriminator = {"propertyName": "k", "mapping": {"z": "Z"}}
    return {"oneOf": [ref(name) for name in names], "discriminator": discriminator}


REFUSED: dict[str, tuple[Node, list[str]]] = {
    "parameter with another content": (
        taking(parameter("query", content={"application/xml": {"schema": OBJECT}})),
        [
            f"{GET}/parameters/0: the query parameter p with application/xml is not supported. "
            "Describe it with application/json, or give it a `schema` if it is plain text."
        ],
    ),
    "parameter with content without a schema": (
        taking(parameter("header", content={"application/json": {}})),
        [
            f"{GET}/parameters/0/content/application~1json: the header parameter p has no schema. "
            "Give it one."
        ],
    ),
    "list of lists in the query": (
        taking(parameter("query", schema={"type": "array", "items": {"type": "array"}})),
        [
            f"{GET}/parameters/0: the query parameter p is neither a scalar nor a list or an "
            f"object of scalars, and of the style form, exploded, {STYLE}"
        ],
    ),
    "list of objects in the path": (
        taking(parameter("path", schema={"type": "array", "items": OBJECT}), path="/t/{p}"),
        [
            "doIt (GET /t/{p}), #/paths/~1t~1{p}/get/parameters/0: the path parameter p is neither "
            f"a scalar nor a list or an object of scalars, and of the style simple {STYLE}"
        ],
    ),
    "style of a query in the path": (
        taking(parameter("path", style="form"), path="/t/{p}"),
        [
            "doIt (GET /t/{p}), #/paths/~1t~1{p}/get/parameters/0: the path parameter p is "
            f"a scalar of the style form, exploded, {STYLE}"
        ],
    ),
    "scalar as deepObject": (
        taking(parameter("query", style="deepObject")),
        [f"{GET}/parameters/0: the query parameter p is a scalar of the style deepObject {STYLE}"],
    ),
    "exploded and delimited": (
        taking(
            parameter(
                "query",
                style="pipeDelimited",
                explode=True,
                schema={"type": "array", "items": TEXT},
            )
        ),
        [
            f"{GET}/parameters/0: the query parameter p is a list of the style pipeDelimited, "
            f"exploded, {STYLE}"
        ],
    ),
    "reserved characters": (
        taking(parameter("query", allowReserved=True)),
        [
            f"{GET}/parameters/0: allowReserved of the query parameter p is not supported. "
            "Leave it out, if the server accepts escaped characters."
        ],
    ),
    "header that the client writes": (
        taking(parameter("header", "idempotency-Key"), parameter("header", "Host")),
        [
            f"{GET}/parameters/{index}: the header parameter {name} is not supported, because "
            "the client writes it. Leave it out, if calls without it are right."
            for index, name in enumerate(["idempotency-Key", "Host"])
        ],
    ),
    "header that cannot be": (
        taking(parameter("header", "X-A: b\r\nX-C")),
        [f'{GET}/parameters/0: no header can be called "X-A: b\\r\\nX-C". Correct its name.'],
    ),
    "header of another style": (
        taking(parameter("header", style="form")),
        [
            f"{GET}/parameters/0: the header parameter p is a scalar of the style form, exploded, "
            f"{STYLE}"
        ],
    ),
    "list of lists in a header": (
        taking(parameter("header", schema={"type": "array", "items": {"type": "array"}})),
        [
            f"{GET}/parameters/0: the header parameter p is neither a scalar nor a list or an "
            f"object of scalars, and of the style simple {STYLE}"
        ],
    ),
    "header that is listed twice": (
        taking(parameter("header", "X-A"), parameter("header", "x-a")),
        [f"{GET}/parameters/1: the header parameter x-a is listed twice. Remove one of them."],
    ),
    "cookie": (
        taking(parameter("cookie")),
        [
            f"{GET}/parameters/0: the cookie parameter p is not supported. "
            "Leave it out, if calls without it are right."
        ],
    ),
    "path parameter that is not in the path": (
        taking(parameter("path")),
        [f"{GET}/parameters/0: the path has no {{p}}. Remove the parameter."],
    ),
    "placeholder that is not declared": (
        taking(path="/t/{p}"),
        [
            "doIt (GET /t/{p}), #/paths/~1t~1{p}/get: the path has {p}, and there is no such "
            "path parameter. Declare it."
        ],
    ),
    "parameter that leads back to itself": (
        taking(
            {"$ref": "#/components/parameters/A"},
            parameters={"A": {"$ref": "#/components/parameters/A"}},
        ),
        [
            f"{GET}/parameters/0: $ref #/components/parameters/A leads back to itself. "
            "Break the cycle."
        ],
    ),
    "list body": (
        sending({"type": "array", "items": TEXT}),
        [f"{BODY}: the body is not one object, which is not supported. Wrap it in an object."],
    ),
    "fields of one alternative": (
        sending({**OBJECT, "anyOf": [{"required": ["a"]}, fields(b=TEXT)]}),
        [
            f"{BODY}: only some alternatives of the body have b. "
            "List all properties of the body beside each other."
        ],
    ),
    "parts that differ": (
        sending({"allOf": [fields(a={"pattern": "a"}), fields(a={"pattern": "b"})]}),
        [
            f"{BODY}/properties/a: its parts differ in pattern, and cannot be merged into one "
            "schema. State pattern once."
        ],
    ),
    "form": (
        contract({"/t": {"post": operation(requestBody=json_body(OBJECT, "multipart/form-data"))}}),
        [
            f"{POST}/requestBody: a body of multipart/form-data is not supported. "
            "Offer application/json as well."
        ],
    ),
    "body in another charset": (
        contract(
            {
                "/t": {
                    "post": operation(
                        requestBody=json_body(OBJECT, "application/json; charset=latin-1")
                    )
                }
            }
        ),
        [
            f"{POST}/requestBody/content/application~1json; charset=latin-1: the charset latin-1 "
            "is not supported, because JSON is UTF-8. Leave the charset out."
        ],
    ),
    "range of media types": (
        contract({"/t": {"post": operation(requestBody=json_body(OBJECT, "application/*+json"))}}),
        [
            f"{POST}/requestBody: a body of application/*+json is not supported. "
            "Offer application/json as well."
        ],
    ),
    "media types that differ": (
        contract(
            {
                "/t": {
                    "get": operation(
                        responses={
                            "200": {
                                "content": {
                                    "application/a+json": {"schema": OBJECT},
                                    "application/b+json": {"schema": TEXT},
                                }
                            }
                        }
                    )
                }
            }
        ),
        [
            f"{GET}/responses/200: it is not clear whether to use application/a+json or "
            "application/b+json, which differ. Keep one of them, or offer application/json as well."
        ],
    ),
    "key that is no text": (
        sending(fields(idempotencyKey={"type": "integer"})),
        [
            f"{BODY}/properties/idempotencyKey: the idempotency key is not plain text, and the "
            "client sends nothing else. Give it the type string."
        ],
    ),
    "key that is too short for a derived one": (
        sending(fields(idempotencyKey={"type": "string", "maxLength": 63})),
        [
            f"{BODY}/properties/idempotencyKey: it does not allow {'9f' * 32}, and the client "
            "makes such keys. Allow random UUIDs, and 64 hexadecimal digits."
        ],
    ),
    "key of another form": (
        sending(fields(idempotencyKey={"type": "string", "pattern": "^[a-z]*$"})),
        [
            f"{BODY}/properties/idempotencyKey: it does not allow "
            "0b8e9f8e-5d4c-4c3e-8a55-3f0c0d7a1e42, and the client makes such keys. "
            "Allow random UUIDs, and 64 hexadecimal digits."
        ],
    ),
    "key in the query": (
        taking(parameter("query", "idempotencyKey")),
        [
            f"{GET}/parameters/0: the client sends idempotency keys only in the bodies of POST, "
            "PUT and PATCH. Leave it out, or use such a method and list the key in its body."
        ],
    ),
    "key of a DELETE": (
        contract({"/t": {"delete": operation(requestBody=json_body(fields(idempotencyKey=TEXT)))}}),
        [
            "doIt (DELETE /t), #/paths/~1t/delete/requestBody/content/application~1json/schema"
            "/properties/idempotencyKey: the client sends idempotency keys only in the bodies of "
            "POST, PUT and PATCH. Leave it out, or use such a method and list the key in its body."
        ],
    ),
    "body that forbids the key": (
        sending({**OBJECT, "additionalProperties": False}),
        [
            f"{BODY}: the body forbids idempotencyKey, which the client adds to each write. "
            "List it, or allow fields that are not listed."
        ],
    ),
    "GET with a body": (
        contract({"/t": {"get": operation(requestBody=json_body(OBJECT))}}),
        [f"{GET}/requestBody: a GET with a body is not supported. Use another method."],
    ),
    "method": (
        contract({"/t": {"head": operation()}}),
        [
            "doIt (HEAD /t), #/paths/~1t/head: the client does not send HEAD. "
            "Leave the operation out."
        ],
    ),
    "operations whose names meet": (
        contract({"/a": {"get": operation("getFoo")}, "/b": {"get": operation("get_foo")}}),
        [
            "get_foo (GET /b), #/paths/~1b/get: it would be the function get_foo, like "
            "getFoo (GET /a). Rename one of the operationIds."
        ],
    ),
    "operation without a name": (
        contract({"/t": {"get": {"responses": {}}}}),
        ["GET /t, #/paths/~1t/get: it has no operationId. Give it one."],
    ),
    "arguments whose names meet": (
        taking(parameter("path", "id"), parameter("query", "id"), path="/{id}"),
        [
            "doIt (GET /{id}), #/paths/~1{id}/get/parameters/1: the argument id would be both "
            "path 'id' and query 'id'. Rename one with `names: {query.id: ...}` in surface.yaml."
        ],
    ),
    "fields whose names meet": (
        sending(fields(fooBar=TEXT, foo_bar=TEXT)),
        [
            f"{BODY}/properties/foo_bar: the argument foo_bar would be both body 'fooBar' and "
            "body 'foo_bar'. Rename one with `names: {body.foo_bar: ...}` in surface.yaml."
        ],
    ),
    "schemas whose names meet": (
        reading(fields(a=ref("a_b"), b=ref("AB"), c=ref("aB")), a_b=OBJECT, AB=OBJECT, aB=OBJECT),
        [
            f"doIt (GET /t), #/components/schemas/{name}: it would be the class AB, which "
            "#/components/schemas/a_b is too. Rename one of them."
            for name in ("AB", "aB")
        ],
    ),
    "enumeration of lists": (
        sending(fields(a={"enum": [["x"]]})),
        [
            f"{BODY}/properties/a: an enumeration of arrays or objects is not supported. "
            "List scalars only."
        ],
    ),
    "tag of another schema": (
        reading(fields(p=tagged("A", "B")), A=OBJECT, B=OBJECT, Z=OBJECT),
        [f"{ANSWER}/properties/p/discriminator: {UNION_TAG}"],
    ),
    "tag of another schema beside one": (
        reading(fields(p=tagged("A")), A=OBJECT, Z=OBJECT),
        [f"{ANSWER}/properties/p/discriminator: {UNION_TAG}"],
    ),
    "nullable, as in 3.0": (
        reading(
            fields(
                a=NULLABLE,
                b={**ref("T"), "nullable": True},
                c={"allOf": [ref("T")], "nullable": True},
            ),
            T=TEXT,
        ),
        [
            f"{ANSWER}/properties/{field}: nullable is a keyword of OpenAPI 3.0, and later "
            "versions ignore it. Allow the type null instead."
            for field in "abc"
        ],
    ),
    "nothing is allowed": (
        reading(fields(p=False)),
        [f"{ANSWER}/properties/p: this schema allows no value. Remove it."],
    ),
    **{
        f"path with {what}": (
            taking(path=path),
            [
                f"doIt (GET {path}), #/paths/{path.replace('/', '~1')}: the path has characters "
                "that must not be in one. Percent-encode them, and declare what follows `?` as "
                "parameters."
            ],
        )
        for what, path in {"a query": "/t?a=1", "a space": "/a b", "an accent": "/é"}.items()
    },
    "servers of a path": (
        contract({"/t": {"servers": [{"url": "/x"}], "get": operation()}}),
        [
            "doIt (GET /t), #/paths/~1t/servers: servers of its own are not supported, because "
            "the client has one address. Leave them out, if the server of the whole contract "
            "serves this too."
        ],
    ),
    "security that the key does not satisfy": (
        {
            **contract(
                {"/t": {"get": operation(), "post": operation("b", security=[scheme("a", "b")])}},
                securitySchemes={
                    "a": {"type": "apiKey", "in": "header", "name": "X-Key"},
                    "b": {"type": "http", "scheme": "Bearer"},
                },
            ),
            "security": [scheme("a"), scheme("unknown")],
        },
        [
            f"{owner}security: the client sends its key as `Authorization: Bearer` and no other "
            "credentials, and that is not enough here. Let a scheme of the type http with the "
            "scheme bearer be enough."
            for owner in ("doIt (GET /t), #/", "b (POST /t), #/paths/~1t/post/")
        ],
    ),
    "two shapes of success": (
        contract(
            {
                "/t": {
                    "get": operation(
                        responses={"200": json_body(ref("A")), "201": json_body(ref("B"))}
                    )
                }
            },
            schemas={"A": OBJECT, "B": OBJECT},
        ),
        [
            f"{GET}/responses/201: this success is B, another is A. "
            "Give all successes the same schema."
        ],
    ),
    "no success": (
        contract({"/t": {"get": operation(responses={"default": json_body(OBJECT)})}}),
        [f"{GET}: no success is documented. Document a 2xx response."],
    ),
    "success of several kinds": (
        reading({"type": ["string", "integer"]}),
        [
            f"{ANSWER}: a success of several kinds, or that may be null, is not supported. "
            "Wrap it in an object."
        ],
    ),
    **{
        f"success that is {what} or null": (
            reading(schema, T=OBJECT),
            [
                f"{ANSWER}: a success of several kinds, or that may be null, is not supported. "
                "Wrap it in an object."
            ],
        )
        for what, schema in {
            "an object": {"anyOf": [ref("T"), {"type": "null"}]},
            "a map": {"type": ["object", "null"]},
            "an envelope": {**fields(data=ref("T")), "type": ["object", "null"]},
            "an object in an envelope": fields(data={"anyOf": [ref("T"), {"type": "null"}]}),
        }.items()
    },
    "success of a write that is a list": (
        contract({"/t": {"post": operation(**answering({"type": "array", "items": TEXT}))}}),
        [
            f"{POST}: a success that is not an object is not supported for writes, whose results "
            "an outbox keeps, nor beside one without a body. Wrap it in an object."
        ],
    ),
    "success that is a file": (
        contract({"/t": {"get": operation(responses={"200": json_body(TEXT, "text/csv")})}}),
        [
            f"{GET}/responses/200: a success of text/csv is not supported. "
            "Offer application/json as well."
        ],
    ),
}


@pytest.mark.parametrize(("document", "expected"), REFUSED.values(), ids=REFUSED)
def test_refused(document: Node, expected: list[str]) -> None:
    """A construct that the templates lack is refused with its operation, place and remedy."""
    assert expected == causes(document)


def test_all_causes_are_reported_at_once() -> None:
    """One run reports each cause in parameters, body, answers, schemas and surface."""
    shared = fields(list={"enum": [["x"]]}, never=False)
    document = contract(
        {
            "/a": {
                "parameters": [parameter("cookie", "c")],
                "get": operation("a", parameters=[parameter("header", "te")], responses={}),
                "post": operation("b", requestBody=json_body(ref("Shared"))),
            },
            "/b": {"get": {}, "delete": operation("c", requestBody=json_body(ref("Shared")))},
        },
        schemas={"Shared": shared},
    )
    settings = surface(document)
    del settings["operations"]["c"]
    settings["operations"]["b"]["colour"] = "red"
    with pytest.raises(SurfaceError) as caught:
        package_view(document, settings)
    cookie = "the cookie parameter c is not supported. Leave it out, if calls without it are right."
    place = "#/components/schemas/Shared/properties"
    expected = [
        "c (DELETE /b), #/paths/~1b/delete: it has no row in surface.yaml. "
        "Add `c: {method: <resource>.<method>}`.",
        "surface.yaml: b: unknown setting colour; known are method, alias, positional, order, "
        "names, unwrap, cli, defaults, replayed, timeout, key, imports, players",
        "GET /b, #/paths/~1b/get: it has no operationId. Give it one.",
        f"a (GET /a) and 1 more, #/paths/~1a/parameters/0: {cookie}",
        "a (GET /a), #/paths/~1a/get/parameters/0: the header parameter te is not supported, "
        "because the client writes it. Leave it out, if calls without it are right.",
        "a (GET /a), #/paths/~1a/get: no success is documented. Document a 2xx response.",
        f"b (POST /a) and 1 more, {place}/list: an enumeration of arrays or objects is not "
        "supported. List scalars only.",
        f"b (POST /a) and 1 more, {place}/never: this schema allows no value. Remove it.",
    ]
    assert expected == caught.value.causes


READ: dict[str, Node] = {
    "parameters of the path item": contract(
        {"/t/{p}": {"parameters": [parameter("path")], "get": operation()}}
    ),
    "path item behind a reference": contract(
        {"/t": {"$ref": "#/components/pathItems/T"}}, pathItems={"T": {"get": operation()}}
    ),
    "webhooks only": {
        "openapi": "3.1.0",
        "info": {"title": "Small", "version": "1"},
        "webhooks": {
            "w": {
                "summary": "A summary beside the operation.",
                "post": {"requestBody": json_body(OBJECT), "responses": {}},
            }
        },
    },
    "no components": contract({"/t": {"get": operation()}}),
    "a media type with a charset": contract(
        {
            "/t": {
                "post": operation(requestBody=json_body(OBJECT, "application/json; charset=utf-8"))
            }
        }
    ),
    "a union that holds itself": reading(
        fields(j=ref("Json")), Json={"oneOf": [TEXT, {"type": "array", "items": ref("Json")}]}
    ),
    "a branch that extends its union": reading(
        ref("Cat"),
        Cat={"allOf": [ref("Pet"), fields(lives={"type": "integer"})]},
        Pet={**fields(kind=TEXT), "oneOf": [ref("Cat")], "discriminator": {"propertyName": "kind"}},
    ),
    "security that the key satisfies": {
        **contract(
            {"/t": {"get": operation(security=[scheme("a"), scheme("b")])}},
            securitySchemes={
                "a": {"type": "apiKey", "in": "header", "name": "X-Key"},
                "b": {"$ref": "#/components/securitySchemes/c"},
                "c": {"type": "http", "scheme": "bearer"},
            },
        ),
        "security": [scheme("a")],
    },
    "no security": contract({"/t": {"get": operation(security=[])}}),
    "a success without a body": contract(
        {"/t": {"delete": operation(responses={"204": {"description": "Gone."}})}}
    ),
    "names that Python lacks": sending(fields(**{"2fa": TEXT, "-": TEXT, "class": TEXT})),
}


@pytest.mark.parametrize("document", READ.values(), ids=READ)
def test_read(document: Node) -> None:
    """A valid but unusual contract is read without an error."""
    settings = surface(document)
    settings["operations"].setdefault("doIt", {"method": "things.doit"})
    if "paths" not in document:
        settings["operations"] = {}
    assert package_view(document, settings).title == "Small"


def test_parameters_of_a_path_item_are_arguments() -> None:
    """A parameter of a path item is an argument unless the operation replaces the parameter."""
    item: Node = {
        "parameters": [parameter("path", "a"), parameter("query", "b"), parameter("query", "c")],
        "get": operation(parameters=[parameter("query", "b", required=True)]),
    }
    document = contract({"/{a}": {"$ref": "#/components/pathItems/I"}}, pathItems={"I": item})
    settings = surface({"paths": {"/{a}": item}})
    (view,) = package_view(document, settings).operations
    expected = [("a", None), ("b", None), ("c", "None")]
    assert expected == [(each.name, each.default) for each in view.arguments]


def test_an_inline_payload_of_a_webhook_has_a_model() -> None:
    """The inline payload of a webhook becomes a model that is named after the webhook."""
    (model,) = build(READ["webhooks only"]).models
    assert ("WPayload", ["a"]) == (model.name, [field.name for field in model.fields])


@pytest.mark.parametrize("first", ["multipart/form-data", "application/x-www-form-urlencoded"])
def test_the_fields_of_a_body_are_those_of_its_json(first: str) -> None:
    """The arguments are the fields of the JSON body, though another media type comes first."""
    content = {
        first: {"schema": fields(a=TEXT)},
        "application/json": {"schema": fields(a=TEXT, j=TEXT)},
    }
    document = contract({"/t": {"post": operation(requestBody={"content": content})}})
    (view,) = build(document).operations
    assert ["a", "j", "idempotency_key"] == [argument.name for argument in view.arguments]


@pytest.mark.parametrize(
    ("media", "sent", "accepted"),
    [
        pytest.param("application/json", [], [], id="json"),
        pytest.param(
            "application/vnd.x+json",
            ["application/vnd.x+json"],
            ["application/vnd.x+json, application/json"],
            id="vendor",
        ),
        pytest.param(
            'application/problem+json ;Charset="UTF-8"; version=2',
            ["application/problem+json; version=2; charset=UTF-8"],
            ["application/problem+json; version=2, application/json"],
            id="parameters",
        ),
        pytest.param(
            "application/json; charset=utf-8",
            ["application/json; charset=utf-8"],
            [],
            id="charset",
        ),
    ],
)
def test_the_media_types_of_the_contract_are_used(
    media: str, sent: list[str], accepted: list[str]
) -> None:
    """Body and answer have the contract's media type; `application/json` is preferred."""
    body, answer = json_body(OBJECT, media), json_body(OBJECT, media)
    document = contract({"/t": {"post": operation(requestBody=body, responses={"200": answer})}})
    (view,) = build(document).operations
    expected = [("Accept", each) for each in accepted] + [("Content-Type", each) for each in sent]
    assert [(f'"{name}"', f'"{each}"') for name, each in expected] == view.fixed_headers
    for each in (body, answer):
        each["content"]["application/json"] = {"schema": OBJECT}
    assert [] == build(document).operations[0].fixed_headers


def test_headers_that_openapi_ignores() -> None:
    """The header parameters that OpenAPI says to ignore do not become arguments."""
    names = ("Accept", "content-type", "Authorization")
    (view,) = build(taking(*(parameter("header", name) for name in names))).operations
    assert [] == view.arguments


def test_an_operation_replaces_a_header_of_its_path_item() -> None:
    """An operation replaces a header of its path item that differs in case only."""
    item: Node = {
        "parameters": [parameter("header", "X-Trace")],
        "get": operation(parameters=[parameter("header", "x-trace", required=True)]),
    }
    (view,) = build(contract({"/t": item})).operations
    assert [("x_trace", '"x-trace"', None)] == [
        (each.name, each.wire, each.default) for each in view.arguments
    ]


def test_a_contract_need_not_list_error_codes() -> None:
    """A contract without the schema `ErrorCode` is read, and has no error codes."""
    assert [] == build(reading(OBJECT)).error_codes


CODES: Node = {"type": "string", "enum": ["not_found", "conflict"], "description": "Codes."}


@pytest.mark.parametrize(
    "schema",
    [
        pytest.param(CODES, id="enumeration"),
        pytest.param({"anyOf": [CODES, TEXT], "description": "Codes."}, id="open enumeration"),
        pytest.param({"allOf": [ref("Other")], "description": "Codes."}, id="allOf"),
        pytest.param(ref("Other"), id="reference"),
    ],
)
def test_error_codes_are_read_from_any_form_of_their_schema(schema: Node) -> None:
    """However the contract writes its error codes, all of them become properties."""
    view = build(reading(OBJECT, ErrorCode=schema, Other=CODES))
    assert (['"not_found"', '"conflict"'], "Codes.") == (view.error_codes, view.error_codes_doc)


def test_a_schema_of_error_codes_that_lists_none() -> None:
    """If `ErrorCode` is any text, no property could be made, so it is refused."""
    expected = "#/components/schemas/ErrorCode: it lists no error codes. List them in an `enum`."
    assert [expected] == causes(reading(OBJECT, ErrorCode=TEXT))


def test_names_of_imports_are_left_alone() -> None:
    """A schema or argument that is named like an import gets an underscore."""
    names = ("Model", "Any", "Literal", "Mapping")
    document = reading(
        fields(**{name.lower(): ref(name) for name in names}),
        **dict.fromkeys(names, OBJECT),
    )
    models = {model.name for model in build(document).models}
    assert {"Model_", "Any_", "Literal_", "Mapping_"} < models
    (view,) = build(sending(fields(dict=TEXT, str=TEXT, date=TEXT))).operations
    arguments = [argument.name for argument in view.arguments]
    assert ["dict_", "str_", "date_", "idempotency_key"] == arguments


def test_a_key_is_never_null() -> None:
    """Null as idempotency key would leave the call without one, so the argument stays text."""
    key = {"type": ["string", "null"], "minLength": 1, "maxLength": 64, "pattern": "^[0-9a-f-]+$"}
    (view,) = build(sending(fields(idempotencyKey=key))).operations
    (argument,) = view.arguments
    assert ("str | None", "None") == (argument.annotation, argument.default)
    assert "null" not in argument.doc


@pytest.mark.parametrize(
    ("more", "optional", "null"),
    [pytest.param([], "None", "", id="text"), pytest.param([NULL], "UNSET", " | None", id="null")],
)
def test_an_enumeration_that_is_open(more: list[Node], optional: str, null: str) -> None:
    """An enumeration beside any text keeps its name, and other texts can be sent and read."""
    schema = {"anyOf": [{"type": "string", "enum": ["x", "y"]}, TEXT, *more]}
    sent = build(sending(fields(a=ref("Kind")), Kind=schema)).operations[0]
    unset = " | Unset" if more else ""
    argument = sent.arguments[0]
    assert f"_models.Kind | str{unset} | None" == argument.annotation
    assert optional == argument.default
    assert argument.check.endswith('_checks.string("a", a)')
    assert "text" == sent.command.arguments[0].kind

    body = {**fields(a=ref("Kind")), "required": ["a"]}
    view = build(reading(body, Kind=schema))
    assert ["Kind"] == [each.name for each in view.enums]
    assert f"Kind | str{null}" == view.models[0].fields[0].annotation


FOUR = taking(parameter("path", "id"), parameter("query", "a", required=True), path="/t/{id}")


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        (
            {"order": ["id"]},
            "order must name each of id, a once, and `*` before those that are keyword-only.",
        ),
        ({"order": ["id", "*", "a", "*"]}, "order must name each of id, a once,"),
        ({"unwrap": "b"}, "the result has no field b to unwrap. Name one that it has."),
        (
            {"cli": {"names": {"b": "c"}}},
            "cli: names names b, but the arguments are id, a. Correct it.",
        ),
        ({"positional": ["b"]}, "positional names b, but the arguments are id, a. Correct it."),
        ({"names": {"b": "c"}}, "names names b, but the arguments are id, a. Correct it."),
        ({"defaults": {"b": 1}}, "defaults names b, but the arguments are id, a. Correct it."),
        ({"defaults": {"a": 1}}, "the contract does not allow the default 1 of a. Correct it."),
        (
            {"replayed": "status"},
            "replayed: status needs the answers 200 and 201, which the operation does not have. "
            "Leave `replayed` out, if its answer does not show a repeat.",
        ),
        ({"replayed": "applied"}, "replayed: applied needs a field `applied`, which the operation"),
        (
            {"cli": {"positional": ["a"]}},
            "cli: positional leaves out id of the path. Name all arguments of the path.",
        ),
        (
            {"cli": {"names": {"id": "a"}}},
            "cli: a of the argument a is used already. Give it another name in `names`.",
        ),
        (
            {"cli": {"names": {"a": "json"}}},
            "cli: json of the argument a is used already. Give it another name in `names`.",
        ),
    ],
    ids=[
        *("incomplete order", "two stars", "field to unwrap", "unknown argument"),
        *("unknown position", "unknown name", "unknown default", "type of a default"),
        *("status of a repeat", "field of a repeat"),
        *("argument of the path", "two of a name", "option of all commands"),
    ],
)
def test_a_wrong_arrangement(row: Node, expected: str) -> None:
    """A row whose order of arguments does not fit its operation is refused by operation."""
    (cause,) = causes(FOUR, doIt=row)
    prefix = "doIt (GET /t/{id}), surface.yaml: "
    assert prefix + expected == cause[: len(prefix + expected)]


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ({"alias": "doit2", "order": [], "positional": []}, "order says which arguments are"),
        ({"alias": "Do"}, "alias must be the name of a method, not Do"),
        ({"cli": {"colour": "red"}}, "cli: unknown setting colour; known are group, command,"),
        ({"cli": {"confirm": "often"}}, "cli: confirm must be never or live or always, not often"),
        ({"cli": {"examples": [7]}}, "cli: examples must be a list of texts, not [7]"),
        ({"cli": {"help": ["a"]}}, "cli: help must be text, not ['a']"),
        ({"cli": ["a"]}, "cli must be a map, not ['a']"),
        ({"key": "day"}, "key must be left out, since this is not a write"),
    ],
    ids=[
        *("order and positional", "alias", "command line", "question"),
        *("examples", "help", "no map", "key"),
    ],
)
def test_a_wrong_setting(row: Node, expected: str) -> None:
    """A setting that cannot be used is refused with the name of its row."""
    (cause,) = causes(FOUR, doIt=row)
    assert f"surface.yaml: doIt: {expected}" == cause[: len(f"surface.yaml: doIt: {expected}")]


@pytest.mark.parametrize(
    ("schema", "default", "allowed"),
    [
        pytest.param({"enum": ["x", "y"]}, "y", True, id="value"),
        pytest.param({"enum": ["x", "y"]}, "z", False, id="value that is gone"),
        pytest.param({"type": "boolean"}, False, True, id="flag"),
        pytest.param({"type": "boolean"}, 0, False, id="number for a flag"),
        pytest.param({"type": "integer"}, 5, True, id="number"),
        pytest.param({"type": "integer"}, True, False, id="flag for a number"),
        pytest.param({"type": "array"}, [], True, id="list"),
    ],
)
def test_a_default_fits_its_argument(schema: Node, default: object, allowed: bool) -> None:
    """A default that the checks would reject on every call is refused."""
    found = causes(sending(fields(a=schema)), doIt={"defaults": {"a": default}})
    assert allowed is not bool(found)
    assert all(f"does not allow the default {default!r} of a" in each for each in found)


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(fields(b=TEXT, c=TEXT), id="missing"),
        pytest.param(
            {**fields(b={"type": ["string", "null"]}, c=TEXT), "required": ["b"]}, id="null"
        ),
    ],
)
def test_a_field_to_unwrap_is_always_there(answer: Node) -> None:
    """A field that may be missing or null is not unwrapped: its call would fail."""
    with pytest.raises(SurfaceError, match="the field b to unwrap may be null or missing"):
        build(reading(answer), doIt={"unwrap": "b"})


def test_names_of_commands_do_not_meet() -> None:
    """Two operations with the same command are refused."""
    document = contract({"/a": {"get": operation("a")}, "/b": {"get": operation("b")}})
    (cause,) = causes(document, a={"cli": {"command": "go"}}, b={"cli": {"command": "go"}})
    expected = "surface.yaml: a and b would both be the command go. Rename one"
    assert expected == cause[: len(expected)]


def test_names_of_methods_do_not_meet() -> None:
    """An alias that equals the name of another method is refused."""
    document = contract({"/a": {"get": operation("a")}, "/b": {"get": operation("b")}})
    (cause,) = causes(document, a={"alias": "b"})
    expected = "surface.yaml: b of a and b of b would both be the method things.b. Rename one"
    assert expected == cause[: len(expected)]


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"colours": {}}, "surface.yaml: unknown setting colours; known are arguments, players,"),
        ({"resources": []}, "surface.yaml: resources must be a map, not []"),
        (
            {"key_lifetimes": {"day": {"doc": "Kept.", "hours": 3}}},
            "surface.yaml: key_lifetimes: day: unknown setting hours; known are",
        ),
        (
            {"key_lifetimes": {"day": {}}},
            "surface.yaml: key_lifetimes: day: doc is missing",
        ),
        ({"operations": {"doIt": 7}}, "surface.yaml: doIt: it must be a map with a method"),
        (
            {"operations": {"doIt": {"method": "things.do", "timeout": "60"}}},
            "surface.yaml: doIt: timeout must be a number, not '60'",
        ),
        (
            {"operations": {"doIt": {"method": "things.do", "replayed": "maybe"}}},
            "surface.yaml: doIt: replayed must be status or applied, not maybe",
        ),
        (
            {"resources": {"t": "T."}, "operations": {"doIt": {"method": "t.do"}}},
            "surface.yaml: an import called T and resource t would both be the class T.",
        ),
    ],
    ids=[
        "unknown setting",
        "no map",
        "unknown setting of a lifetime",
        "lifetime without words",
        "no row",
        "type of a setting",
        "value of a setting",
        "class of an import",
    ],
)
def test_a_wrong_surface(change: dict[str, Any], expected: str) -> None:
    """A mistake outside the rows of the surface is refused by name."""
    document = contract({"/t": {"get": operation()}})
    with pytest.raises(SurfaceError) as caught:
        package_view(document, {**surface(document), **change})
    assert expected == caught.value.causes[0][: len(expected)]


@pytest.mark.parametrize(
    ("version", "bounds", "expected"),
    [
        pytest.param("3.1.0", {"exclusiveMinimum": 0}, "minimum=1", id="above"),
        pytest.param("3.1.0", {"exclusiveMaximum": 9.5}, "maximum=9", id="below"),
        pytest.param(
            "3.1.0", {"minimum": 3, "exclusiveMinimum": 0}, "minimum=3", id="two lower bounds"
        ),
        pytest.param(
            "3.1.0", {"maximum": 5, "exclusiveMaximum": 5}, "maximum=4", id="two upper bounds"
        ),
        pytest.param(
            "3.1.0", {"minimum": 0.5, "maximum": 1.5}, "minimum=1, maximum=1", id="halves"
        ),
        pytest.param(
            "3.0.3", {"minimum": 0, "exclusiveMinimum": True}, "minimum=1", id="above, in 3.0"
        ),
        pytest.param(
            "3.0.3", {"maximum": 9, "exclusiveMaximum": True}, "maximum=8", id="below, in 3.0"
        ),
        pytest.param(
            "3.0.3",
            {"minimum": 0, "exclusiveMinimum": False, "maximum": 2, "exclusiveMaximum": False},
            "minimum=0, maximum=2",
            id="inclusive, in 3.0",
        ),
    ],
)
def test_bounds_of_integers(version: str, bounds: Node, expected: str) -> None:
    """An amount outside a bound is rejected, however the contract writes the bound."""
    document = {**sending(fields(a={"type": "integer", **bounds})), "openapi": version}
    assert (
        f'_checks.integer("a", a, {expected})' == build(document).operations[0].arguments[0].check
    )


@pytest.mark.parametrize(
    ("schema", "expected"),
    [
        pytest.param({**TEXT, "minLength": 1}, "p", id="not empty"),
        pytest.param(
            {**TEXT, "maxLength": 64, "pattern": "^[a-z]+$"},
            '_checks.string("p", p, max_length=64, pattern="^[a-z]+$")',
            id="length and pattern",
        ),
    ],
)
def test_bounds_of_ids_in_a_path(schema: Node, expected: str) -> None:
    """An id in the path is checked against all bounds of the contract."""
    (view,) = build(taking(parameter("path", schema=schema), path="/{p}")).operations
    assert f'"/" + _checks.path_segment("p", {expected})' == view.path_expression


@pytest.mark.parametrize(
    ("schema", "more", "expected"),
    [
        pytest.param(TEXT, {"required": ["p"]}, "(p,)", id="required"),
        pytest.param(TEXT, {}, "(*(() if p is None else (p,)),)", id="may be left out"),
        pytest.param(
            {"type": ["string", "null"]},
            {},
            "(*(() if p is UNSET or p is None else (p,)),)",
            id="may be left out or null",
        ),
    ],
)
def test_ids_of_players_that_are_missing(schema: Node, more: Node, expected: str) -> None:
    """An id that may be left out or null names no player when it is missing."""
    document = sending({**fields(p=schema), **more})
    settings: Node = {**surface(document), "players": ["p"]}
    del settings["operations"]["doIt"]["players"]
    (view,) = package_view(document, settings).operations
    assert expected == view.players


@pytest.mark.parametrize(
    ("schema", "argument", "field"),
    [
        (NULLABLE, "str | Unset | None", "str | None"),
        ({**NULLABLE, "enum": ["x", None]}, "_models.DoItBodyA | Unset | None", None),
        ({"nullable": True, "allOf": [ref("T")]}, "str | Unset | None", "str | None"),
        (
            {"nullable": True, "oneOf": [TEXT, {"type": "integer"}]},
            "str | int | Unset | None",
            "Any",
        ),
        (
            {"type": "array", "items": NULLABLE},
            "Sequence[str | None] | None",
            "list[str | None] | None",
        ),
        (
            {"type": "object", "additionalProperties": NULLABLE},
            "Mapping[str, str | None] | None",
            "dict[str, str | None] | None",
        ),
        ({"allOf": [ref("N")]}, "str | Unset | None", "str | None"),
        (ref("N"), "str | Unset | None", "str | None"),
        ({"nullable": True, **ref("T")}, "str | None", "str | None"),
    ],
    ids=[
        *("text", "enumeration", "allOf", "oneOf", "item", "map", "behind allOf", "behind $ref"),
        "beside $ref, where 3.0 ignores it",
    ],
)
def test_nullable_of_3_0(schema: Node, argument: str, field: str | None) -> None:
    """A schema that OpenAPI 3.0 marks `nullable` can be sent and read as null."""
    components = {"T": TEXT, "N": NULLABLE}
    sent = build({**sending(fields(a=schema), **components), "openapi": "3.0.3"})
    read = build({**reading(fields(a=schema), **components), "openapi": "3.0.3"})
    assert argument == sent.operations[0].arguments[0].annotation
    if field is not None:
        (model,) = [each for each in read.models if each.fields and each.fields[0].wire == '"a"']
        assert field == model.fields[0].annotation
