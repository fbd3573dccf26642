from prospect.evaluation.generate import *
from prospect.evaluation.generate import generate
