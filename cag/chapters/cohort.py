"""What notebook 01 is told."""

from __future__ import annotations

from pydantic import Field

from cag.settings import StudySettings


class CohortPageSettings(StudySettings):
    """The cohort, which frames to show, and how many frames a run are drawn."""

    frames_per_run: int = Field(5, ge=1, le=50)
