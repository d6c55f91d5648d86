"""A real S3 server for tests, by moto, whose requests have to be signed with the key of the bucket's user.

Makes the bucket `bank`, prints one line of JSON with the port and the key, and ends with its standard input. With the
argument `unconditional` it knows no If-None-Match, as some storage does.
"""
import json
import logging
import os
import sys
import threading

import boto3
from moto import settings
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import make_server

# A list of a few objects has several pages.
os.environ["MOTO_S3_DEFAULT_MAX_KEYS"] = "20"
conditional = "unconditional" not in sys.argv[1:]
logging.getLogger("werkzeug").setLevel(logging.ERROR)
dispatcher = DomainDispatcherApplication(create_backend_app)


# Storage looks whether an object is there and writes it in one step, and moto in two.
one_write = threading.Lock()


def application(environ, start_response):
    if not conditional:
        environ.pop("HTTP_IF_NONE_MATCH", None)
    if environ["REQUEST_METHOD"] != "PUT":
        return dispatcher(environ, start_response)
    with one_write:
        return dispatcher(environ, start_response)


server = make_server("127.0.0.1", 0, application, threaded=True)
threading.Thread(target=server.serve_forever, daemon=True).start()


def client(name):
    return boto3.client(name, endpoint_url=f"http://127.0.0.1:{server.port}", region_name="us-east-1",
                        aws_access_key_id="nobody", aws_secret_access_key="nothing")


client("s3").create_bucket(Bucket="bank")
iam = client("iam")
iam.create_user(UserName="backup")
everything = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "s3:*", "Resource": "*"}]}
iam.put_user_policy(UserName="backup", PolicyName="s3", PolicyDocument=json.dumps(everything))
key = iam.create_access_key(UserName="backup")["AccessKey"]
# From now on.
if conditional:
    settings.INITIAL_NO_AUTH_ACTION_COUNT = 0
print(json.dumps({"port": server.port, "id": key["AccessKeyId"], "secret": key["SecretAccessKey"]}), flush=True)
sys.stdin.read()
