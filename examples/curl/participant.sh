#!/usr/bin/env bash
# A participant without the SDK: curl and jq, and any program that trains.
#
#   URL=… TOKEN=… TRAINING=… participant.sh TRAIN EVALUATE
#
# TRAIN MODEL UPDATE trains the tensors in the safetensors file MODEL, writes them to UPDATE and prints how many samples
# it used. EVALUATE MODEL prints the accuracy of MODEL. What comes too late is said, and left.
set -euo pipefail
train=$1 evaluate=$2
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

# One request; tried again while the server is away, and an error says what the server says.
api() {
    curl -sS --fail-with-body --retry 20 --retry-connrefused -H "Authorization: Token $TOKEN" "$@"
}

me=$(api "$URL/api/users/myself/" | jq -r .id)

# Is what was asked still open, and not delivered yet? Arguments: phase, 0-based round.
wanted() {
    api "$URL/api/trainings/$TRAINING/" | jq -e --arg phase "$1" --argjson round "$2" \
        '.phase == $phase and .round == $round' > "$folder/open" || return 1
    api "$URL/api/trainings/$TRAINING/participants/" | jq -e --arg me "$me" \
        '.[] | select(.id == $me) | .expected and (.delivered | not)' > "$folder/missing"
}

after=0
while true; do
    # Everything new about this training, as soon as there is something: one line each.
    api "$URL/api/users/myself/notifications/?after=$after&wait=30" > "$folder/feed"
    after=$(jq --argjson after "$after" '.[-1].id // $after' "$folder/feed")
    jq -r --arg training "$TRAINING" '.[] | select(.training_uuid == $training)
        | [.notification_type, .body.global_model_uuid // "-", .body.round // 0] | @tsv' "$folder/feed" > "$folder/news"
    while read -r kind model round; do
        case $kind in
            UPDATE_ROUND_START)
                wanted collecting "$round" || continue
                api -o "$folder/model" "$URL/api/models/$model/?format=safetensors"
                samples=$("$train" "$folder/model" "$folder/update")
                # Without a slash behind the round: curl would append the name of the file.
                api -T "$folder/update" -H "Content-Type: application/vnd.safetensors" \
                    "$URL/api/models/$model/updates/$round?sample_size=$samples" | jq -r .detail || continue
                ;;
            MODEL_TEST_ROUND)
                wanted testing "$((round - 1))" || continue
                api -o "$folder/model" "$URL/api/models/$model/?format=safetensors"
                api -F metric_names=accuracy -F "metric_values=$("$evaluate" "$folder/model")" \
                    "$URL/api/models/$model/metrics/" | jq -r .detail || continue
                ;;
            TRAINING_FINISHED | CLIENT_REMOVED)
                echo "$kind"
                exit
                ;;
        esac
    done < "$folder/news"
done
