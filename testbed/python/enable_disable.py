#!/usr/bin/python3
"""Bring a node online or mark it offline with python-jenkins, as a unit's ExecStartPre= and ExecStop= do it.

Usage: enable_disable.py enable|disable

JENKINS_URL and JENKINS_AGENT_NAME say which node, JENKINS_USER_ID and JENKINS_API_TOKEN (or a password) who asks.
"""

import os
import sys

import jenkins


def main():
    if sys.argv[1:] not in (["enable"], ["disable"]):
        sys.exit(__doc__)
    server = jenkins.Jenkins(
        os.environ["JENKINS_URL"], os.environ.get("JENKINS_USER_ID"), os.environ.get("JENKINS_API_TOKEN"), timeout=30
    )
    node = os.environ["JENKINS_AGENT_NAME"]
    if sys.argv[1] == "enable":
        server.enable_node(node)
    else:
        server.disable_node(node, msg="the agent's service stops")


if __name__ == "__main__":
    main()
