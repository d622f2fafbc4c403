"""A small JSON Schema (2020-12) validator: what the OpenAPI document of tangramd uses, no more.

An unknown keyword is an error, so that the document cannot say something that is not checked."""
import datetime
import re

KNOWN = {"type", "properties", "required", "additionalProperties", "items", "maxItems", "enum",
         "minimum", "maximum", "minLength", "maxLength", "maxProperties", "propertyNames", "format",
         "$ref", "anyOf", "default", "description"}
TYPES = {"object": dict, "array": list, "string": str, "boolean": bool, "null": type(None)}


class Document:
    def __init__(self, doc):
        self.doc = doc

    def resolve(self, ref):
        assert ref.startswith("#/"), ref
        at = self.doc
        for part in ref[2:].split("/"):
            at = at[part]
        return at

    def errors(self, schema, value, where="$"):
        """What is wrong with the value, as a list of sentences."""
        unknown = set(schema) - KNOWN
        assert not unknown, f"keywords {unknown} are not checked"
        if "$ref" in schema:
            return self.errors(self.resolve(schema["$ref"]), value, where)
        if "anyOf" in schema:
            each = [self.errors(s, value, where) for s in schema["anyOf"]]
            return [] if any(not e for e in each) else min(each, key=len)
        found = self._type(schema, value, where)
        if found:
            return found
        if "enum" in schema and value not in schema["enum"]:
            found.append(f"{where}: {value!r} is none of {schema['enum']}")
        if isinstance(value, dict):
            found += self._object(schema, value, where)
        elif isinstance(value, list):
            found += self._list(schema, value, where)
        elif isinstance(value, str):
            found += self._string(schema, value, where)
        elif isinstance(value, (int, float)) and not isinstance(value, bool):
            if not schema.get("minimum", value) <= value <= schema.get("maximum", value):
                found.append(f"{where}: {value} is out of range")
        return found

    @staticmethod
    def _type(schema, value, where):
        types = schema.get("type", [])
        types = [types] if isinstance(types, str) else types
        for name in types:
            if name in TYPES and isinstance(value, TYPES[name]):
                return []
            number = isinstance(value, (int, float)) and not isinstance(value, bool)
            if name == "number" and number or name == "integer" and number and value == int(value):
                return []
        return [f"{where}: {value!r} is not {types}"] if types else []

    def _object(self, schema, value, where):
        found = [f"{where}: {name} is missing" for name in schema.get("required", [])
                 if name not in value]
        properties, more = schema.get("properties", {}), schema.get("additionalProperties", True)
        for name, member in value.items():
            if name in properties:
                found += self.errors(properties[name], member, f"{where}.{name}")
            elif more is False:
                found.append(f"{where}: {name} is not in the schema")
            elif isinstance(more, dict):
                found += self.errors(more, member, f"{where}.{name}")
            if "propertyNames" in schema:
                found += self.errors(schema["propertyNames"], name, f"{where}.({name})")
        if len(value) > schema.get("maxProperties", len(value)):
            found.append(f"{where}: too many members")
        return found

    def _list(self, schema, value, where):
        found = []
        if len(value) > schema.get("maxItems", len(value)):
            found.append(f"{where}: too many entries")
        for i, item in enumerate(value):
            found += self.errors(schema.get("items", {}), item, f"{where}[{i}]")
        return found

    @staticmethod
    def _string(schema, value, where):
        found = []
        if not schema.get("minLength", 0) <= len(value) <= schema.get("maxLength", len(value)):
            found.append(f"{where}: {value!r} is too short or too long")
        if schema.get("format") == "date-time":
            if not re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", value):
                found.append(f"{where}: {value!r} is not a time")
            else:
                datetime.datetime.strptime(value, "%Y-%m-%dT%H:%M:%S.%fZ")
        return found

    # --- routes ---

    def operation(self, method, path):
        """The operation that a request goes to, most specific path first."""
        path = path.split("?")[0]
        for pattern in sorted(self.doc["paths"], key=lambda p: p.count("{")):
            if re.fullmatch(re.sub(r"\{\w+\}", "[^/]+", pattern), path):
                if method.lower() in self.doc["paths"][pattern]:
                    return self.doc["paths"][pattern][method.lower()]
        raise AssertionError(f"the document has no {method} {path}")

    def check_reply(self, method, path, reply):
        """Is this what the document promises for the request?"""
        responses = self.operation(method, path)["responses"]
        is_problem = reply.status >= 400
        kind = "application/problem+json" if is_problem else "application/json"
        if not is_problem and "text/plain" in responses.get("200", {}).get("content", {}):
            kind = "text/plain"
            assert reply.headers["Content-Type"].split(";")[0] == kind, reply
            return
        assert reply.headers["Content-Type"] == kind, reply
        if not is_problem:
            assert str(reply.status) in responses, (method, path, reply)
        response = responses.get(str(reply.status), responses["default"])
        schema = response["content"][kind].get("schema")
        if schema:
            found = self.errors(schema, reply.json)
            assert not found, (method, path, found, reply)
        if is_problem:
            assert reply.json["status"] == reply.status
            assert reply.json["type"] == "urn:tangram:problem:" + reply.json["reason"]
        return reply.json
