"""
Calls the API through one generation of the Python SDKs: `driver.py core|tea ENDPOINT ACCESS_KEY_ID ACCESS_KEY_SECRET REGION`.

Reads one call per line, `{"product": "Ecs", "action": "DescribeVpcs", "params": {…}}` with the API's field names. Prints one line
for each: `{"body": {…}}`, or `{"code": "…", "status": 404}` for a refusal.
"""
import importlib
import json
import re
import sys

generation, endpoint, access_key_id, access_key_secret, region = sys.argv[1:]
VERSIONS = {"Ecs": "20140526", "Vpc": "20160428"}


def core():
    """The older generation: a class per request with a setter per parameter, signed by HMAC-SHA1."""
    from aliyunsdkcore.acs_exception.exceptions import ServerException
    from aliyunsdkcore.client import AcsClient

    client = AcsClient(access_key_id, access_key_secret, region, auto_retry=False, timeout=20)

    def call(product, action, params):
        module = importlib.import_module(
            "aliyunsdk%s.request.v%s.%sRequest" % (product.lower(), VERSIONS[product], action)
        )
        request = getattr(module, action + "Request")()
        request.set_endpoint(endpoint)
        request.set_protocol_type("http")
        request.set_accept_format("JSON")
        for name, value in params.items():
            # The name of a RepeatList's setter ends in an additional s.
            names = ["set_" + name + "s", "set_" + name] if isinstance(value, list) else ["set_" + name]
            setter = next((getattr(request, each) for each in names if hasattr(request, each)), None)
            if setter is None:
                request.add_query_param(name, value)
            else:
                setter(value)
        try:
            return {"body": json.loads(client.do_action_with_exception(request))}
        except ServerException as error:
            return {"code": error.get_error_code(), "status": error.get_http_status()}

    return call


def tea():
    """The newer generation: models, signed by ACS3-HMAC-SHA256."""
    from alibabacloud_tea_openapi.utils_models import Config
    from darabonba.exceptions import DaraException
    from darabonba.runtime import RuntimeOptions

    def client_of(product):
        module = importlib.import_module("alibabacloud_%s%s" % (product.lower(), VERSIONS[product]))
        client = importlib.import_module(module.__name__ + ".client").Client(
            Config(
                access_key_id=access_key_id,
                access_key_secret=access_key_secret,
                region_id=region,
                endpoint=endpoint,
                protocol="HTTP",
            )
        )
        return client, importlib.import_module(module.__name__ + ".models")

    clients = {product: client_of(product) for product in VERSIONS}

    def call(product, action, params):
        client, models = clients[product]
        request = getattr(models, action + "Request")().from_map(params)
        snake = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", action).lower()
        names = [each for each in dir(client) if each.replace("_", "") == snake.replace("_", "") + "withoptions"]
        try:
            response = getattr(client, names[0])(request, RuntimeOptions(autoretry=False))
            return {"body": response.body.to_map()}
        except DaraException as error:
            status = getattr(error, "status_code", None) or (getattr(error, "data", None) or {}).get("statusCode")
            return {"code": error.code, "status": status}

    return call


call = {"core": core, "tea": tea}[generation]()
for line in sys.stdin:
    wanted = json.loads(line)
    try:
        response = call(wanted["product"], wanted["action"], wanted["params"])
    except Exception as error:  # Reported to the test, whatever it is.
        response = {"failure": "%s: %s" % (type(error).__name__, error)}
    print(json.dumps(response), flush=True)
