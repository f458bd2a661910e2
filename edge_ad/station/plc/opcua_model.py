"""What of OPC 40100-1 (machine vision) a station shows: names, numbers and arguments, as tables.

Names and numeric ids are those of the specification, so that a client which knows it finds them. Source: OPC 40100-1,
"OPC UA for Machine Vision, Part 1", version 1.0.0 (2019-07-11). Only what is listed here is there; docs/opcua.md says
what is not.
"""

from __future__ import annotations

from typing import NamedTuple

URI = "http://opcfoundation.org/UA/MachineVision"

# Data types of OPC UA itself, by their ids in namespace 0.
BOOLEAN, INT32, UINT32, DOUBLE, STRING, BYTES, NODE_ID, LOCAL_TEXT = 1, 6, 7, 11, 12, 15, 17, 21
STRUCTURE, ANY, DURATION, UTC, ENUMERATION = 22, 24, 290, 294, 29
# The specification defined these two itself; OPC UA 1.05 has them, and clients know those.
TRIMMED, HANDLE = 31918, 31917


class Field(NamedTuple):
    """A field of a structure, or an argument of a method. `kind`: an id in namespace 0, or a name of `STRUCTURES`,
    `NUMBERS` or `ENUMERATIONS`."""

    name: str
    kind: int | str
    optional: bool = False
    many: bool = False


class Shape(NamedTuple):
    """A structure: ids of the data type and of its binary encoding, and its fields."""

    id: int
    encoding: int
    fields: tuple[Field, ...]


_ID = Field("Id", TRIMMED)
_TOLD = (_ID, Field("Description", LOCAL_TEXT, optional=True))
_BINARY_ID = (
    _ID,
    Field("Version", TRIMMED, optional=True),
    Field("Hash", BYTES, optional=True),
    Field("HashAlgorithm", STRING, optional=True),
    Field("Description", LOCAL_TEXT, optional=True),
)

# Name: (id, the type in namespace 0 that it is).
NUMBERS = {"ResultStateDataType": (3009, INT32)}
ENUMERATIONS = {"TriStateBooleanDataType": (3014, ("FALSE_0", "TRUE_1", "DONTCARE_2"))}
STRUCTURES = {
    "RecipeIdExternalDataType": Shape(3002, 5002, _BINARY_ID),
    "RecipeIdInternalDataType": Shape(3013, 5268, _BINARY_ID),
    "ConfigurationIdDataType": Shape(3008, 5090, _BINARY_ID),
    "MeasIdDataType": Shape(3015, 5006, _TOLD),
    "PartIdDataType": Shape(3004, 5013, _TOLD),
    "ProductIdDataType": Shape(3003, 5224, _TOLD),
    "JobIdDataType": Shape(3016, 5008, (_ID,)),
    "ResultIdDataType": Shape(3021, 5274, (_ID,)),
    "ProcessingTimesDataType": Shape(
        3005,
        5016,
        (
            Field("StartTime", UTC),
            Field("EndTime", UTC),
            Field("AcquisitionDuration", DURATION, optional=True),
            Field("ProcessingDuration", DURATION, optional=True),
        ),
    ),
    "ResultDataType": Shape(
        3006,
        5018,
        (
            Field("ResultId", "ResultIdDataType"),
            Field("HasTransferableDataOnFile", BOOLEAN, optional=True),
            Field("IsPartial", BOOLEAN),
            Field("IsSimulated", BOOLEAN, optional=True),
            Field("ResultState", "ResultStateDataType"),
            Field("MeasId", "MeasIdDataType", optional=True),
            Field("PartId", "PartIdDataType", optional=True),
            Field("ExternalRecipeId", "RecipeIdExternalDataType", optional=True),
            Field("InternalRecipeId", "RecipeIdInternalDataType"),
            Field("ProductId", "ProductIdDataType", optional=True),
            Field("ExternalConfigurationId", "ConfigurationIdDataType", optional=True),
            Field("InternalConfigurationId", "ConfigurationIdDataType"),
            Field("JobId", "JobIdDataType"),
            Field("CreationTime", UTC),
            Field("ProcessingTimes", "ProcessingTimesDataType", optional=True),
            Field("ResultContent", ANY, optional=True, many=True),
        ),
    ),
}

# Name: (id, the name or id of what it is a subtype of).
TYPES: dict[str, tuple[int, int | str]] = {
    "VisionSystemType": (1003, 58),
    "VisionStateMachineType": (1017, 2771),
    "VisionAutomaticModeStateMachineType": (1021, 2771),
    "ResultManagementType": (1007, 58),
    "ResultFolderType": (1016, 61),
    "RecipeManagementType": (1004, 58),
    "RecipeFolderType": (1008, 61),
    "RecipeType": (1002, 58),
}
RESULT_TYPE = 2002  # a type of variables

_RESULT = tuple(field for field in STRUCTURES["ResultDataType"].fields if field.name != "HasTransferableDataOnFile")
TRANSITION_EVENT, BASE_EVENT = 2311, 2041
# Name: (id, what it is a subtype of, its own fields).
EVENTS: dict[str, tuple[int, int, tuple[Field, ...]]] = {
    "StateChangedEventType": (1018, TRANSITION_EVENT, ()),
    "ErrorEventType": (1019, TRANSITION_EVENT, ()),
    "ErrorResolvedEventType": (1020, TRANSITION_EVENT, ()),
    "JobStartedEventType": (1013, BASE_EVENT, (Field("JobId", "JobIdDataType"),)),
    "ReadyEventType": (1023, BASE_EVENT, (Field("JobId", "JobIdDataType"),)),
    "RecipePreparedEventType": (
        1022,
        BASE_EVENT,
        (Field("InternalId", "RecipeIdInternalDataType"), Field("ExternalId", "RecipeIdExternalDataType")),
    ),
    "ResultReadyEventType": (1024, BASE_EVENT, _RESULT),
}

PREOPERATIONAL, HALTED, ERROR, OPERATIONAL = "Preoperational", "Halted", "Error", "Operational"
INITIALIZED, READY, SINGLE, CONTINUOUS = "Initialized", "Ready", "SingleExecution", "ContinuousExecution"
# State: (id of the state in its type, its number).
STATES = {
    PREOPERATIONAL: (5028, 1),
    HALTED: (5029, 2),
    ERROR: (5030, 3),
    OPERATIONAL: (5031, 4),
    INITIALIZED: (5056, 5),
    READY: (5057, 6),
    SINGLE: (5058, 7),
    CONTINUOUS: (5059, 8),
}
# Transition: (id, number).
TRANSITIONS = {
    "PreoperationalToHalted": (5032, 121),
    "PreoperationalToErrorAuto": (5034, 130),
    "PreoperationalToOperational": (5253, 141),
    "PreoperationalToOperationalAuto": (5254, 140),
    "HaltedToPreoperational": (5037, 211),
    "ErrorToPreoperational": (5039, 311),
    "ErrorToHalted": (5041, 321),
    "ErrorToOperationalAuto": (5255, 340),
    "OperationalToPreoperational": (5047, 411),
    "OperationalToHalted": (5049, 421),
    "OperationalToErrorAuto": (5051, 430),
    "InitializedToReadyRecipe": (5060, 561),
    "InitializedToReadyAuto": (5061, 560),
    "ReadyToInitializedRecipe": (5062, 651),
    "ReadyToInitializedAuto": (5063, 650),
    "ReadyToSingleExecution": (5064, 671),
    "ReadyToContinuousExecution": (5066, 681),
    "ReadyToContinuousExecutionAuto": (5067, 680),
    "SingleExecutionToReadyStop": (5068, 761),
    "SingleExecutionToReadyAbort": (5069, 762),
    "SingleExecutionToReadyAuto": (5070, 760),
    "ContinuousExecutionToReadyStop": (5071, 861),
    "ContinuousExecutionToReadyAbort": (5072, 862),
    "ContinuousExecutionToReadyAuto": (5073, 860),
}

ERROR_OUT = Field("Error", INT32)
_CAUSE = (Field("Cause", INT32), Field("CauseDescription", STRING))
_JOB = (
    Field("MeasId", "MeasIdDataType"),
    Field("PartId", "PartIdDataType"),
    Field("RecipeId", "RecipeIdExternalDataType"),
    Field("ProductId", "ProductIdDataType"),
    Field("Parameters", ANY, many=True),
)
_JOB_OUT = (Field("JobId", "JobIdDataType"), ERROR_OUT)
_RECIPE_IN = (Field("ExternalId", "RecipeIdExternalDataType"), Field("InternalIdIn", "RecipeIdInternalDataType"))
_TIMEOUT = Field("Timeout", INT32)
_PAGE = (Field("MaxResults", UINT32), Field("StartIndex", UINT32), _TIMEOUT)

MACHINE, AUTOMATIC = "VisionStateMachine", "VisionStateMachine.AutomaticModeStateMachine"
RESULTS, RECIPES = "ResultManagement", "RecipeManagement"


class Method(NamedTuple):
    """A method: the object that has it, what it takes and gives."""

    object: str
    takes: tuple[Field, ...]
    gives: tuple[Field, ...]


METHODS = {
    "Reset": Method(MACHINE, _CAUSE, (ERROR_OUT,)),
    "Halt": Method(MACHINE, _CAUSE, (ERROR_OUT,)),
    "SelectModeAutomatic": Method(MACHINE, (), (ERROR_OUT,)),
    "StartSingleJob": Method(AUTOMATIC, _JOB, _JOB_OUT),
    "StartContinuous": Method(AUTOMATIC, _JOB, _JOB_OUT),
    "Stop": Method(AUTOMATIC, _CAUSE, (ERROR_OUT,)),
    "Abort": Method(AUTOMATIC, _CAUSE, (ERROR_OUT,)),
    "GetResultById": Method(
        RESULTS,
        (Field("ResultId", "ResultIdDataType"), _TIMEOUT),
        (Field("ResultHandle", HANDLE), Field("Result", "ResultDataType"), ERROR_OUT),
    ),
    "GetResultListFiltered": Method(
        RESULTS,
        (
            Field("ResultState", "ResultStateDataType"),
            Field("MeasId", "MeasIdDataType"),
            Field("PartId", "PartIdDataType"),
            Field("ExternalRecipeId", "RecipeIdExternalDataType"),
            Field("InternalRecipeId", "RecipeIdInternalDataType"),
            Field("ExternalConfigurationId", "ConfigurationIdDataType"),
            Field("InternalConfigurationId", "ConfigurationIdDataType"),
            Field("ProductId", "ProductIdDataType"),
            Field("JobId", "JobIdDataType"),
            *_PAGE,
        ),
        (
            Field("IsComplete", BOOLEAN),
            Field("ResultCount", UINT32),
            Field("ResultHandle", HANDLE),
            Field("ResultList", "ResultDataType", many=True),
            ERROR_OUT,
        ),
    ),
    "ReleaseResultHandle": Method(RESULTS, (Field("ResultHandle", HANDLE),), (ERROR_OUT,)),
    "GetRecipeListFiltered": Method(
        RECIPES,
        (
            Field("ExternalId", "RecipeIdExternalDataType"),
            Field("ProductId", "ProductIdDataType"),
            Field("IsPrepared", "TriStateBooleanDataType"),
            *_PAGE,
        ),
        (
            Field("IsComplete", BOOLEAN),
            Field("ResultCount", UINT32),
            Field("RecipeHandle", HANDLE),
            Field("RecipeList", "RecipeIdInternalDataType", many=True),
            ERROR_OUT,
        ),
    ),
    "PrepareRecipe": Method(
        RECIPES,
        _RECIPE_IN,
        (Field("InternalIdOut", "RecipeIdInternalDataType"), Field("IsCompleted", BOOLEAN), ERROR_OUT),
    ),
    "UnprepareRecipe": Method(RECIPES, _RECIPE_IN, (Field("InternalIdOut", "RecipeIdInternalDataType"), ERROR_OUT)),
}

# Values of ResultState.
COMPLETED, PROCESSING, ABORTED, FAILED = 1, 2, 3, 4
