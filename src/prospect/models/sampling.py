from prospect.evaluation.generate import *
