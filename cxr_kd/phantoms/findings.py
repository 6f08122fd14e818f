"""How the 14 findings are drawn, following the Fleischner Society's glossary (Hansell et al., Radiology 2008, 246:697).

A finding has one or two functions. `RESHAPE[finding]` changes the anatomy before it is drawn (a wider heart, a raised
diaphragm). `DRAW[finding]` adds absorption to the scene, or removes air or vessels, and returns where it is (0..1).
"""

from cxr_kd.phantoms import opacities, outlines
from cxr_kd.phantoms.lesion import Draw, Reshape

RESHAPE: dict[str, Reshape] = {
    "Atelectasis": outlines.shrink_lung,
    "Cardiomegaly": outlines.widen_heart,
    "Edema": opacities.congest,
    "Emphysema": outlines.inflate,
    "Fibrosis": opacities.scar,
}
DRAW: dict[str, Draw] = {
    "Atelectasis": outlines.atelectasis,
    "Cardiomegaly": outlines.cardiomegaly,
    "Effusion": outlines.effusion,
    "Infiltration": opacities.infiltration,
    "Mass": opacities.mass,
    "Nodule": opacities.nodule,
    "Pneumonia": opacities.pneumonia,
    "Pneumothorax": outlines.pneumothorax,
    "Consolidation": opacities.consolidation,
    "Edema": opacities.edema,
    "Emphysema": outlines.emphysema,
    "Fibrosis": opacities.fibrosis,
    "Pleural_Thickening": outlines.pleural_thickening,
    "Hernia": outlines.hernia,
}
