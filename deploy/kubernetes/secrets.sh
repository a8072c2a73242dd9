#!/bin/sh
# Prints the Secrets of the cluster: `deploy/kubernetes/secrets.sh | kubectl apply -f -`, once.
#
#     understudy-table   the password of PostgreSQL, and the URL of the table with it in it
#     understudy-keys    a key for each pod, NAME.key, and its public half, NAME.pub
#
# STAGES and ENGINES say for how many pods (2 and 2). Needs `understudy` and nothing else; no secret stays on this machine.
set -eu
umask 077
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

password=$(od -An -N24 -tx1 /dev/urandom | tr -d ' \n')
cat <<EOF
apiVersion: v1
kind: Secret
metadata:
  name: understudy-table
  namespace: understudy
type: Opaque
stringData:
  password: "$password"
  url: "postgresql://understudy:$password@postgresql.understudy.svc/understudy"
---
apiVersion: v1
kind: Secret
metadata:
  name: understudy-keys
  namespace: understudy
type: Opaque
data:
EOF

# In Kubernetes a StatefulSet counts its pods from 0: stage-0, stage-1, engine-0, engine-1.
for kind in "stage ${STAGES:-2}" "engine ${ENGINES:-2}"; do
    number=0
    while [ "$number" -lt "${kind#* }" ]; do
        name="${kind%% *}-$number"
        understudy keys init "$name" --keys "$folder" >/dev/null
        for half in key pub; do
            echo "  $name.$half: $(base64 <"$folder/own/$name.$half" | tr -d '\n')"
        done
        number=$((number + 1))
    done
done
