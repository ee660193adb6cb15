"""Training: one process per spec and group of seeds. Checkpoints and records live in `results/runs`, which no rule owns, so
that a failed or killed job loses nothing; the trainer itself skips what is done and goes on where it was stopped."""


rule train:
    input:
        manifest=lambda wc: manifest_of(JOBS[wc.job][1].spec),
        # The gate before the first step. When it is made again, the trainer looks again and finds nothing to do. (As `ancient` it would
        # hide from Snakemake every other reason to train while it is made.)
        audit=lambda wc: f"results/audits/{audit_key(JOBS[wc.job][1].spec, 'untrained')}.untrained.json",
        measured=lambda wc: asked_by(JOBS[wc.job][1].spec),
    output:
        "results/trained/{job}.json",
    params:
        place=lambda wc: place_of(wc.job),
        source=lambda wc: run_hash(JOBS[wc.job][1].spec.model_tree),
        machine=MACHINE,
    threads: lambda wc: JOBS[wc.job][1].spec.threads
    resources:
        gpu=lambda wc: int(HAS_GPU and JOBS[wc.job][1].spec.device != "cpu"),
    log:
        "logs/training/{job}.log",
    shell:
        "exec env OMP_WAIT_POLICY=PASSIVE OMP_NUM_THREADS={threads} nnn-bench train {params.place} --output {output} >> {log} 2>&1"
