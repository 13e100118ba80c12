"""A fit in a run of MLflow that is your own: the numbers of each epoch, the settings and the reasons go into it."""

import json
import os
import shutil
import sys
import tempfile
from pathlib import Path

from autopilot_runtime.training import Experiment, MLflowLogger, MonotonicGate, Policy, TargetStopper, Trainer

# MLflow would report to its makers, tell how it makes its tables, and draw a bar for a small file.
os.environ.update(MLFLOW_DISABLE_TELEMETRY="true", MLFLOW_LOGGING_LEVEL="WARNING")
os.environ["MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR"] = "false"
try:
    import alembic  # noqa: F401  MLflow needs it for a database
    import mlflow
except ImportError:
    sys.exit("This example needs MLflow and a database: pip install 'autopilot-runtime[mlflow]' sqlalchemy alembic")

sys.path.insert(0, str(Path(__file__).parents[1] / "textmatch"))
from textmatch import HERE, Sorter, loader


def fitted(folder: Path) -> float:
    """Makes the rules of ../textmatch right. `logger=` is all that is said of MLflow."""
    module, train, val = Sorter(Path(shutil.copy(HERE / "rules.json", folder))), loader("train"), loader("val")
    trainer = Trainer(
        policy=Policy(MonotonicGate("success", strict=True)),
        stoppers=TargetStopper("success", 1.0),
        accumulate_grad_batches=len(train),
        experiment=Experiment("rules", path=folder, config={"data": {"train": "train.jsonl", "val": "val.jsonl"}}),
        logger=MLflowLogger(),
    )
    return trainer.fit(module, train, val, max_epochs=40).metrics["success"]


def shown(client: mlflow.MlflowClient, run: mlflow.entities.Run, folder: Path) -> None:
    """What MLflow says of a run."""
    print(f"{run.info.run_name!r}, {run.info.status}")
    for name, value in sorted(run.data.params.items()):
        print(f"  {name:18} {value}")
    for name in sorted(run.data.metrics):
        print(f"  {name:18} {' '.join(f'{value:.0%}' for value in history(client, run, name))}")
    journal = client.download_artifacts(run.info.run_id, "autopilot/journal.jsonl", str(folder))
    entries = [json.loads(line) for line in Path(journal).read_text(encoding="utf-8").splitlines()]
    print(
        "  the last of", len(entries), "entries of the journal:", entries[-1]["decision"], "as", entries[-1]["text"]
    )


def history(client: mlflow.MlflowClient, run: mlflow.entities.Run, name: str) -> list[float]:
    found = client.get_metric_history(run.info.run_id, name)
    return [one.value for one in sorted(found, key=lambda one: one.step)]


with tempfile.TemporaryDirectory() as name:
    folder = Path(name)
    mlflow.set_tracking_uri(f"sqlite:///{folder / 'mlflow.db'}")
    mlflow.set_experiment(experiment_id=mlflow.create_experiment("messages", artifact_location=folder.as_uri()))
    with mlflow.start_run(run_name="rules for messages"):
        mlflow.log_param("asked_by", "me")
        mlflow.log_metric("right in the end", fitted(folder))  # in the same run, which is still open
    client = mlflow.MlflowClient()
    runs = client.search_runs([one.experiment_id for one in client.search_experiments()])
    print("runs in MLflow:", len(runs))
    for run in runs:
        shown(client, run, folder)
    first, *_, last = history(client, runs[0], "val/success")
    print(f"held out: {first:.0%} -> {last:.0%} right")
