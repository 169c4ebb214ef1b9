#!/bin/bash
# A study on a Slurm allocation: a Ray head on its first node, which works too, and a Ray node on each of the others.
#
#     sbatch cluster/deploy/slurm.sh study.toml /shared/store
#
# Killed, out of time or without one of its nodes: submit it again, or let Slurm requeue it. What is stored is not
# computed again, on whatever number of nodes.
#SBATCH --job-name=probestore
#SBATCH --nodes=4
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=32
#SBATCH --gpus-per-node=4
#SBATCH --mem=0
#SBATCH --time=24:00:00
#SBATCH --requeue
#SBATCH --no-kill
#SBATCH --open-mode=append
#SBATCH --output=probestore-%j.log

set -euo pipefail

study=${1:?"usage: sbatch slurm.sh STUDY STORE"}
store=${2:?"usage: sbatch slurm.sh STUDY STORE; every node must see the store"}

# Other users of the nodes reach these ports: without the token, Ray would run whatever they send.
export RAY_AUTH_MODE=token
RAY_AUTH_TOKEN=$(python -c 'import secrets; print(secrets.token_hex(32))')
export RAY_AUTH_TOKEN

mapfile -t nodes < <(scontrol show hostnames "$SLURM_JOB_NODELIST")
head=${nodes[0]}
# Asked of Ray, because `hostname --ip-address` is a loopback address on some systems.
address=$(srun --nodes=1 --ntasks=1 --nodelist="$head" python -c 'import ray; print(ray.util.get_node_ip_address())')
port=$((20000 + SLURM_JOB_ID % 10000)) # jobs that share a node do not meet
resources=(--num-cpus="$SLURM_CPUS_PER_TASK" --num-gpus="${SLURM_GPUS_ON_NODE:-0}")

# `ray start --block` ends with its node; the trap ends it with the job.
trap 'kill $(jobs -p) 2>/dev/null || true' EXIT
srun --nodes=1 --ntasks=1 --nodelist="$head" \
    ray start --head --node-ip-address="$address" --port="$port" --include-dashboard=false "${resources[@]}" --block &

until ray health-check --address "$address:$port" >/dev/null 2>&1; do
    kill -0 $! || { echo "The head did not start; see above." >&2; exit 1; }
    sleep 2
done

if ((${#nodes[@]} > 1)); then
    srun --nodes=$((${#nodes[@]} - 1)) --ntasks=$((${#nodes[@]} - 1)) --exclude="$head" --no-kill --kill-on-bad-exit=0 \
        ray start --address="$address:$port" "${resources[@]}" --block &
fi

# Nodes that join later are used as they come.
probestore run "$study" --store "$store" --address "$address:$port" --events "probestore-$SLURM_JOB_ID.jsonl"
