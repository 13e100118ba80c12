"""Trains what has no gradients: prompts, configurations, rules, code. Names load on first use."""

from __future__ import annotations

from importlib import import_module

_HOME = {
    "datum": "Datum EvalDatum Batch",
    "dataset": "Dataset ListDataset IterableDataset ConcatDataset Row",
    "sampler": "Sampler SequentialSampler RandomSampler WeightedSampler BatchSampler",
    "dataloader": "DataLoader",
    "datamodule": "DataModule Stage",
    "split": "StratifiedSplitter IncrementalSplitter SplitAssignment",
    "fingerprint": "DatasetFingerprint",
    "parameter": "Parameter ScalarParameter TextParameter JSONParameter",
    "pathparameter": "PathParameter",
    "gradient": "Gradient NumericGradient TextGradient Gradients parts_of",
    "collate": "ConcatCollator AgentCollator SequentialCollator",
    "graph": "Operator Context no_grad",
    "module": "Module",
    "autopilotmodule": "AutoPilotModule",
    "loss": "Loss",
    "judgeloss": "JudgeLoss",
    "metric": "Metric MeanMetric SuccessRate MetricCollection",
    "optimizer": "Optimizer RuleOptimizer ScriptedOptimizer Scheduler",
    "searchoptimizer": "SearchOptimizer",
    "agentmodule": "AgentModule",
    "agentoptimizer": "AgentOptimizer",
    "claudecode": "ClaudeCodeAgent",
    "runtimeagent": "RuntimeAgent",
    "generator": "GeneratorAgent",
    "judge": "JudgeAgent Judgement",
    "trainer": "Trainer",
    "workbench": "Workbench",
    "budget": "Budget",
    "loop": "Loop EpochLoop",
    "policy": "Policy QualityFirstPolicy ThresholdPolicy",
    "gate": "Gate MinGate MaxGate RangeGate CustomGate MonotonicGate BudgetGate Decision Judged Case",
    "selector": "Candidate Selector BestSelector ParetoSelector TopKSelector TreeSelector",
    "acceptor": "Acceptor StrictAcceptor PairedAcceptor WilcoxonAcceptor",
    "stepcheck": "StepCheck",
    "stopper": "Stopper PlateauStopper BudgetStopper TargetStopper",
    "merge": "ComponentMerger",
    "experiment": "Experiment",
    "record": "Record Commit EvalKey Evaluation EpochRow ExperimentRow",
    "contextlog": "ContextLog ContextEntry",
    "tree": "Tree",
    "forest": "Forest",
    "query": "completed failed running metric_gt metric_lt best tagged Query",
    "filestore": "Store FileStore",
    "storecallback": "StoreCheckpointCallback",
    "checkpoint": "CheckpointIO JSONCheckpointIO",
    "checkpointcallback": "CheckpointCallback",
    "callback": "Callback",
    "environment": "Environment LocalEnvironment IsolatedEnvironment",
    "executor": "Executor Job",
    "localexecutor": "LocalExecutor",
    "processexecutor": "ProcessExecutor",
    "rayexecutor": "RayExecutor",
    "logger": "Logger JSONLLogger",
    "mlflowlogger": "MLflowLogger",
    "wandblogger": "WandbLogger",
    "tensorboardlogger": "TensorBoardLogger",
    "tracking": "Tracking",
    "fault": "TrainingError ParameterRefused MetricMissing ExperimentBusy ResumeRefused EvaluationFailed BudgetSpent",
}
_MODULE = {name: module for module, names in _HOME.items() for name in names.split()}


def __getattr__(name: str) -> object:
    module = _MODULE.get(name)
    if module is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value: object = getattr(import_module(f"{__name__}.{module}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *_MODULE])
