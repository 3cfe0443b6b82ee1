"""The kinds of models that folders of CTranslate2 hold."""
