-- What an order or the hospital's system says of a patient's stay (HL7 PV1-2: inpatient, outpatient, emergency …); policies choose by it.
ALTER TABLE study_storage ADD COLUMN patient_class text COLLATE "C" NOT NULL DEFAULT '';
