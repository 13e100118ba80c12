"""Trains what has no gradients: prompts, configurations, rules, code. Names load on first use."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from autopilot_runtime.training.acceptor import Acceptor, PairedAcceptor, StrictAcceptor, WilcoxonAcceptor
    from autopilot_runtime.training.agentmodule import AgentModule
    from autopilot_runtime.training.agentoptimizer import AgentOptimizer
    from autopilot_runtime.training.autopilotmodule import AutoPilotModule
    from autopilot_runtime.training.budget import Budget
    from autopilot_runtime.training.callback import Callback
    from autopilot_runtime.training.checkpoint import CheckpointIO, JSONCheckpointIO
    from autopilot_runtime.training.checkpointcallback import CheckpointCallback
    from autopilot_runtime.training.claudecode import ClaudeCodeAgent
    from autopilot_runtime.training.collate import AgentCollator, ConcatCollator, SequentialCollator
    from autopilot_runtime.training.contextlog import ContextEntry, ContextLog
    from autopilot_runtime.training.dataloader import DataLoader
    from autopilot_runtime.training.datamodule import DataModule, Stage
    from autopilot_runtime.training.dataset import ConcatDataset, Dataset, IterableDataset, ListDataset, Row
    from autopilot_runtime.training.datum import Batch, Datum, EvalDatum
    from autopilot_runtime.training.environment import Environment, IsolatedEnvironment, LocalEnvironment
    from autopilot_runtime.training.executor import Executor, Job
    from autopilot_runtime.training.experiment import Experiment
    from autopilot_runtime.training.fault import (
        BudgetSpent,
        EvaluationFailed,
        ExperimentBusy,
        MetricMissing,
        ParameterRefused,
        ResumeRefused,
        TrainingError,
    )
    from autopilot_runtime.training.filestore import FileStore, Store
    from autopilot_runtime.training.fingerprint import DatasetFingerprint
    from autopilot_runtime.training.forest import Forest
    from autopilot_runtime.training.gate import (
        BudgetGate,
        Case,
        CustomGate,
        Decision,
        Gate,
        Judged,
        MaxGate,
        MinGate,
        MonotonicGate,
        RangeGate,
    )
    from autopilot_runtime.training.generator import GeneratorAgent
    from autopilot_runtime.training.gradient import Gradient, Gradients, NumericGradient, TextGradient, parts_of
    from autopilot_runtime.training.graph import Context, Operator, no_grad
    from autopilot_runtime.training.judge import JudgeAgent, Judgement
    from autopilot_runtime.training.judgeloss import JudgeLoss
    from autopilot_runtime.training.localexecutor import LocalExecutor
    from autopilot_runtime.training.logger import JSONLLogger, Logger
    from autopilot_runtime.training.loop import EpochLoop, Loop
    from autopilot_runtime.training.loss import FeedbackLoss, Loss
    from autopilot_runtime.training.merge import ComponentMerger, Merged
    from autopilot_runtime.training.metric import MeanMetric, Metric, MetricCollection, SuccessRate
    from autopilot_runtime.training.mlflowlogger import MLflowLogger
    from autopilot_runtime.training.module import Module
    from autopilot_runtime.training.optimizer import Optimizer, RuleOptimizer, Scheduler, ScriptedOptimizer
    from autopilot_runtime.training.page import report_html
    from autopilot_runtime.training.parameter import JSONParameter, Parameter, ScalarParameter, TextParameter
    from autopilot_runtime.training.pathparameter import PathParameter
    from autopilot_runtime.training.plot import progress_svg
    from autopilot_runtime.training.plottext import progress_text
    from autopilot_runtime.training.policy import Policy, QualityFirstPolicy, ThresholdPolicy
    from autopilot_runtime.training.processexecutor import ProcessExecutor
    from autopilot_runtime.training.progress import ProgressBar
    from autopilot_runtime.training.query import Query, best, completed, failed, metric_gt, metric_lt, running, tagged
    from autopilot_runtime.training.rayexecutor import RayExecutor
    from autopilot_runtime.training.record import Commit, EpochRow, EvalKey, Evaluation, ExperimentRow, Record
    from autopilot_runtime.training.recordsalvage import salvage
    from autopilot_runtime.training.runtimeagent import RuntimeAgent
    from autopilot_runtime.training.sampler import (
        BatchSampler,
        RandomSampler,
        Sampler,
        SequentialSampler,
        WeightedSampler,
    )
    from autopilot_runtime.training.searchoptimizer import SearchOptimizer
    from autopilot_runtime.training.selector import (
        BestSelector,
        Candidate,
        ParetoSelector,
        Selector,
        TopKSelector,
        TreeSelector,
    )
    from autopilot_runtime.training.split import IncrementalSplitter, SplitAssignment, StratifiedSplitter
    from autopilot_runtime.training.stepcheck import StepCheck
    from autopilot_runtime.training.stopper import BudgetStopper, PlateauStopper, Stopper, TargetStopper
    from autopilot_runtime.training.storecallback import StoreCheckpointCallback
    from autopilot_runtime.training.story import Story, read_story
    from autopilot_runtime.training.tensorboardlogger import TensorBoardLogger
    from autopilot_runtime.training.tracking import Tracking
    from autopilot_runtime.training.trainer import Trainer
    from autopilot_runtime.training.tree import Tree
    from autopilot_runtime.training.wandblogger import WandbLogger
    from autopilot_runtime.training.workbench import Workbench

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
    "loss": "Loss FeedbackLoss",
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
    "merge": "ComponentMerger Merged",
    "experiment": "Experiment",
    "record": "Record Commit EvalKey Evaluation EpochRow ExperimentRow",
    "recordsalvage": "salvage",
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
    "progress": "ProgressBar",
    "story": "Story read_story",
    "plot": "progress_svg",
    "plottext": "progress_text",
    "page": "report_html",
    "fault": "TrainingError ParameterRefused MetricMissing ExperimentBusy ResumeRefused EvaluationFailed BudgetSpent",
}
_MODULE = {name: module for module, names in _HOME.items() for name in names.split()}

__all__ = [
    "Acceptor",
    "AgentCollator",
    "AgentModule",
    "AgentOptimizer",
    "AutoPilotModule",
    "Batch",
    "BatchSampler",
    "BestSelector",
    "Budget",
    "BudgetGate",
    "BudgetSpent",
    "BudgetStopper",
    "Callback",
    "Candidate",
    "Case",
    "CheckpointCallback",
    "CheckpointIO",
    "ClaudeCodeAgent",
    "Commit",
    "ComponentMerger",
    "ConcatCollator",
    "ConcatDataset",
    "Context",
    "ContextEntry",
    "ContextLog",
    "CustomGate",
    "DataLoader",
    "DataModule",
    "Dataset",
    "DatasetFingerprint",
    "Datum",
    "Decision",
    "Environment",
    "EpochLoop",
    "EpochRow",
    "EvalDatum",
    "EvalKey",
    "Evaluation",
    "EvaluationFailed",
    "Executor",
    "Experiment",
    "ExperimentBusy",
    "ExperimentRow",
    "FeedbackLoss",
    "FileStore",
    "Forest",
    "Gate",
    "GeneratorAgent",
    "Gradient",
    "Gradients",
    "IncrementalSplitter",
    "IsolatedEnvironment",
    "IterableDataset",
    "JSONCheckpointIO",
    "JSONLLogger",
    "JSONParameter",
    "Job",
    "JudgeAgent",
    "JudgeLoss",
    "Judged",
    "Judgement",
    "ListDataset",
    "LocalEnvironment",
    "LocalExecutor",
    "Logger",
    "Loop",
    "Loss",
    "MLflowLogger",
    "MaxGate",
    "MeanMetric",
    "Merged",
    "Metric",
    "MetricCollection",
    "MetricMissing",
    "MinGate",
    "Module",
    "MonotonicGate",
    "NumericGradient",
    "Operator",
    "Optimizer",
    "PairedAcceptor",
    "Parameter",
    "ParameterRefused",
    "ParetoSelector",
    "PathParameter",
    "PlateauStopper",
    "Policy",
    "ProcessExecutor",
    "ProgressBar",
    "QualityFirstPolicy",
    "Query",
    "RandomSampler",
    "RangeGate",
    "RayExecutor",
    "Record",
    "ResumeRefused",
    "Row",
    "RuleOptimizer",
    "RuntimeAgent",
    "Sampler",
    "ScalarParameter",
    "Scheduler",
    "ScriptedOptimizer",
    "SearchOptimizer",
    "Selector",
    "SequentialCollator",
    "SequentialSampler",
    "SplitAssignment",
    "Stage",
    "StepCheck",
    "Stopper",
    "Store",
    "StoreCheckpointCallback",
    "Story",
    "StratifiedSplitter",
    "StrictAcceptor",
    "SuccessRate",
    "TargetStopper",
    "TensorBoardLogger",
    "TextGradient",
    "TextParameter",
    "ThresholdPolicy",
    "TopKSelector",
    "Tracking",
    "Trainer",
    "TrainingError",
    "Tree",
    "TreeSelector",
    "WandbLogger",
    "WeightedSampler",
    "WilcoxonAcceptor",
    "Workbench",
    "best",
    "completed",
    "failed",
    "metric_gt",
    "metric_lt",
    "no_grad",
    "parts_of",
    "progress_svg",
    "progress_text",
    "read_story",
    "report_html",
    "running",
    "salvage",
    "tagged",
]


def __getattr__(name: str) -> object:
    module = _MODULE.get(name)
    if module is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value: object = getattr(import_module(f"{__name__}.{module}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *_MODULE])
